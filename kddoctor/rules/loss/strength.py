"""How strong the distillation term is in the total, against what was declared."""

from typing import Literal

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.alpha_inverted import weights_are
from kddoctor.rules.loss.declared import PROBE, STANDARD_LOSSES, WEIGHT_ERROR, ambiguous_factor, distils
from kddoctor.run.manifest import Manifest

#: Relative error of a ratio of two weights that are read from rounded losses.
RATIO_ERROR = 2 * WEIGHT_ERROR
Named = Literal["T²", "C"]


def strength_against_declared(loss: LossForensics, config: Manifest) -> float | None:
    """Measured over declared ratio of distillation to labels; None where something more specific names it.

    The factors of KD201, KD202 and KD207 are divided out, because those codes name them.
    """
    alpha, term, mix = config.distillation.alpha, loss.term, loss.mix
    if not alpha or term is None or mix is None or mix.schedule or not mix.kd_weight or loss.whole_as_declared:
        # Where alpha is nought no balance is declared.
        return None
    if config.distillation.loss not in STANDARD_LOSSES or weights_are(mix, alpha, 1 - alpha):
        return None
    factor = loss.factor_beyond_names
    if factor is None:
        return None
    measured = abs(mix.kd_weight) * factor
    if mix.ce_weight == 0 or alpha == 1:
        # Nothing to be balanced against; a constant on the only term acts as a learning rate.
        return measured if alpha == 1 and mix.ce_weight == 0 else None
    return measured / abs(mix.ce_weight) / (alpha / (1 - alpha))


def named_strength(strength: float | None, loss: LossForensics, config: Manifest) -> frozenset[Named]:
    """Which numbers with a code of their own the total lacks, or has once too often: T² (KD202), classes (KD201).

    So it is where the term that is logged is the declared one, and another one is added up. The labels have their
    declared weight then; where they have not, the weights are others, and the ratio is a coincidence.
    """
    meant = config.distillation
    labels = 1 - (meant.alpha or 0.0)
    if strength is None or loss.mix is None or abs(loss.mix.ce_weight - labels) > RATIO_ERROR * labels:
        return frozenset()
    numbers: dict[Named, float] = {"C": float(loss.classes)}
    if meant.temperature_squared and meant.temperature is not None and meant.loss != "mse":
        numbers["T²"] = meant.temperature**2
    powers: dict[Named, tuple[int, ...]] = {"C": (-1,), "T²": (-1, 1)}
    return frozenset(
        name
        for name, number in numbers.items()
        if number > 1 and any(abs(strength / number**power - 1) <= RATIO_ERROR for power in powers[name])
    )


def lacking_in_total(loss: LossForensics, config: Manifest, name: Named) -> Finding | None:
    """Support where the term was logged as declared and the total holds it by exactly this number off; else None."""
    strength = strength_against_declared(loss, config)
    named = named_strength(strength, loss, config)
    if not distils(config) or strength is None or loss.mix is None or name not in named:
        return None
    off = f"1/{name}" if strength < 1 else name
    finding = Finding().supported_by(
        PROBE,
        "relative_strength",
        strength,
        f"the term that is logged is the declared one, and the total holds {loss.mix.kd_weight:.4g} times that and "
        f"{loss.mix.ce_weight:.4g} times the labels: {off} of the declared balance, on every one of {loss.steps} steps",
        threshold=1.0,
        grade=Grade.PROOF,
    )
    if len(named) == 1:
        return finding
    return ambiguous_factor(finding, loss, "T² = C here, so either gives the same number")
