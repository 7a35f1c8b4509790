"""What any judge is given of a run, and what it answers: the common ground of kddoctor, its ablations and baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The truth of a fault outside the catalogue.
OUTSIDE = ("?",)
#: The label of a run that has nothing wrong with it.
HEALTHY = "healthy"


@dataclass(frozen=True)
class Example:
    """One run. truth: its codes, none of a healthy run, ``OUTSIDE`` of a fault that no code names.

    features: numbers by name, NaN where not measured. metrics: the rows of metrics.jsonl. config: the manifest's
    distillation and training, flattened; twin_config: those of the healthy twin.
    """

    run: str
    task: str
    truth: tuple[str, ...]
    features: Mapping[str, float]
    metrics: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    twin_config: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The one class that a classifier learns: the primary code, or ``HEALTHY``."""
        return self.truth[0] if self.truth else HEALTHY


@dataclass(frozen=True)
class Judgement:
    """ranked: codes, most likely first. confidence: in the first of them, 0 where the run is not called sick."""

    sick: bool
    ranked: tuple[str, ...]
    confidence: float


Judge = Callable[[Example], Judgement]
#: From examples whose truth is known to a judge of others.
Fit = Callable[[Sequence[Example]], Judge]


def judgement_of(shares: Mapping[str, float]) -> Judgement:
    """From the share that each label has, ``HEALTHY`` among them; of equal shares the first in the mapping counts."""
    ranked = [label for label in sorted(shares, key=lambda label: -shares[label]) if shares[label] > 0]
    sick = bool(ranked) and ranked[0] != HEALTHY
    codes = tuple(label for label in ranked if label != HEALTHY)
    return Judgement(sick, codes, float(shares[codes[0]]) if sick else 0.0)
