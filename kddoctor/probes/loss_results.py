"""What loss forensics finds out: the form that ran, what multiplies it, and how the terms are mixed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_factors import Explanation
from kddoctor.probes.loss_fit import MixFit
from kddoctor.probes.loss_forms import LossForm
from kddoctor.probes.loss_of_a_part import LossOfAPart

Array = NDArray[np.float64]
#: Steps of which one may have been recorded in part.
STRAY = 20


@dataclass(frozen=True)
class Declared:
    """What the manifest says the loss is."""

    form: LossForm | None
    alpha: float | None
    temperature: float | None
    temperature_squared: bool = True


@dataclass(frozen=True)
class TermFit:
    """The distillation term: the form that ran and what multiplies its mean over the rows that count.

    ``rivals``: other forms that fit as well, so that the record cannot tell them apart. ``explanations``: the
    equally cheap products that equal ``factor`` (after dividing by the weight where only the total is known).
    """

    form: LossForm
    factor: float
    errors: Array
    explanations: tuple[Explanation, ...]
    rivals: tuple[LossForm, ...]
    source: Literal["kd_loss", "total"]

    @property
    def error(self) -> float:
        """Largest relative error over the steps."""
        return float(self.errors.max())


@dataclass(frozen=True)
class Mix:
    """Effective weights in the total. ``schedule``: (first, last) weight where it moves steadily."""

    fit: MixFit
    schedule: tuple[float, float] | None = None

    @property
    def ce_weight(self) -> float:
        """Weight of the hard-label term."""
        return self.fit.weights.get("ce", 0.0)

    @property
    def kd_weight(self) -> float:
        """Weight of the distillation term."""
        return self.fit.weights.get("kd", 0.0)


@dataclass(frozen=True)
class LossForensics:
    """What the recorded losses are.

    term: None where no form of the grammar reproduces them. declared_errors: [steps] relative errors of the
    declared form with its declared factor, None where nothing is declared or nothing recorded to compare.
    mix: None where no fixed weights (or schedule) reproduce the total. ``kd_share``: [steps] share of the
    weighted distillation term's logit gradient, ‖g_kd‖ / (‖g_kd‖ + ‖g_ce‖), where it can be computed. feature_share:
    median share of the feature term in the total. factor_beyond_names: what multiplies the term beside its declared
    factor once a mean over classes and a wrong power of T are divided out (both have codes of their own).
    whole_as_declared: the declared form, whose factor stands in its weight: their product in the total is the declared.
    part: what multiplies the term, up to chance, where the steps hold a part of each batch and nothing is an identity.
    """

    steps: int
    classes: int
    tolerance: float
    term: TermFit | None
    closest: LossForm | None
    closest_error: float
    declared_errors: Array | None
    mix: Mix | None
    declared_mix_error: float | None
    hard_term: str | None
    kd_recorded: bool
    kd_always_zero: bool
    divergence: float
    kd_share: Array | None
    feature_share: float | None
    factor_beyond_names: float | None
    nonfinite_losses: int
    finite_logits_at_nonfinite_loss: bool
    whole_as_declared: bool = False
    part: LossOfAPart | None = None

    @property
    def declared_error(self) -> float | None:
        """Error of the declared form on all steps but one in twenty, as a batch may have been recorded in part; None
        where nothing was declared that can be checked.
        """
        if self.declared_errors is None:
            return None
        return float(np.sort(self.declared_errors)[::-1][len(self.declared_errors) // STRAY])

    @property
    def declared_holds(self) -> bool:
        """Whether the declared form reproduces the recorded term, as on every step that was recorded whole."""
        return self.declared_error is not None and self.declared_error <= self.tolerance

    @property
    def declared_differs(self) -> bool:
        """Whether the declared form could be checked and is not the recorded one."""
        return self.declared_error is not None and not self.declared_holds

    @property
    def unexplained(self) -> bool:
        """Whether nobody knows what was minimised: another form than the declared one, and none that is known."""
        return self.declared_differs and self.term is None
