"""The loop minimises another objective than the one that was declared.

What it checks
    Whether the form, the temperatures or the weights that reproduce the recorded loss are the declared ones, where no
    more specific code names the difference. Temperatures are searched for on either side, beyond the usual ones as
    well. Where no form that is known reproduces a term that is far off the declared one, and whose ratio to it moves,
    this is named by exclusion, as long as the student suffered, and where steps hold all rows of their batches.

Why it hurts
    Every conclusion drawn from the settings is about another experiment. A temperature on one side only asks the
    student for a distribution that it is then not measured by.

What it looks like
    The loss cannot be recomputed from the configuration; two "equivalent" code paths give different curves.

Told apart from
    KD201 (factor C), KD202 (factor T²), KD203 (no logarithm), KD204 (direction), KD205 (softmax twice), KD206 (axis),
    KD207 (weights exchanged), KD208 (weights far off), KD209 (other operands), KD210 (a vanishing weight), KD214,
    KD306, KD801, KD803 and KD804: those come first.

Fix
    - loss = kl(student / T, teacher)          # temperature on one side
    + loss = T**2 * kl(student / T, teacher / T)
    Pin the objective with a test that compares the loop's loss with the declared formula.

Treat automatically
    Yes: the student is retrained with the declared loss.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2.
"""

from dataclasses import replace

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_forms import FAMILY_TEXT, LossForm
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import (
    PROBE,
    STANDARD_LOSSES,
    as_declared,
    distils,
    excluded,
    mistaken,
    named_elsewhere,
    part_of_the_batch,
    reproduced,
    undecided,
)
from kddoctor.rules.loss.kd_target_wrong_source import measures_no_distance
from kddoctor.rules.loss.kl_direction_swapped import OPPOSITE
from kddoctor.rules.loss.kl_input_not_log import NOT_LOGGED
from kddoctor.rules.loss.loss_weight_imbalance import IMBALANCE
from kddoctor.rules.loss.strength import named_strength, strength_against_declared
from kddoctor.rules.optimisation.harm import behind
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Share
from kddoctor.run.manifest import Manifest

#: Differences that another code names.
NAMED_ELSEWHERE = tuple(NOT_LOGGED)
#: Relative difference from which a temperature is another one: a fitted temperature is good to 1e-3.
SAME_TEMPERATURE: Share = 0.005
#: Steps, and largest error of the declared loss on them, from which one that nothing reproduces is another one.
FEWEST_STEPS: Count = 8
FAR_OFF: Share = 0.2
#: Points below its teacher at which a student came out well.
CLOSE: Share = 0.05
#: Rank correlation with the declared divergence from which a term may be that, times what moves from step to step.
IN_STEP = 0.95
#: Smallest ratio of strengths that counts as drift; fitted weights are good to 1e-3.
SAME_STRENGTH: Factor = 1.05


@rule(
    "KD211",
    name="objective-config-drift",
    family="loss",
    title="The loop minimises another objective than the declared one",
    stage=35,
    reads=(LossForensics, Manifest),
    uses=(LossMistakes, Gaps, StudentPath),
    masks=("KD208", "KD301", "KD402", "KD502", "KD102"),
)
def objective_config_drift(
    loss: LossForensics,
    config: Manifest,
    mistakes: LossMistakes | None,
    held_out: Gaps | None = None,
    path: StudentPath | None = None,
) -> Finding:
    finding = as_declared(Finding(), loss)
    if config.distillation.loss not in STANDARD_LOSSES or not distils(config):
        return finding
    if mistakes is not None and _top_classes(mistakes):
        return _of_top_classes(finding)
    other = None if mistakes is None else mistakes.of("KD211")
    if mistakes is not None and other is not None and loss.term is None:
        declared = FAMILY_TEXT[str(config.distillation.loss)]
        return (
            mistaken(finding, mistakes, other)
            .saying(
                f"The distillation loss is {other.text}; {declared} was declared.",
                where="kd_run.yaml: distillation.loss",
            )
            .prescribe("the declared loss", loss__form="declared")
        )
    if mistakes is not None and loss.unexplained and not mistakes.found and not part_of_the_batch(config, path):
        return _of_nothing_known(finding, loss, mistakes, config, held_out)
    if loss.term is None or (other is None and named_elsewhere(mistakes, config)):
        return finding
    difference = _difference(loss.term.form, config)
    if difference is not None:
        finding = reproduced(finding, loss, f"recorded = {loss.term.form.describe()}")
        # Whichever of several it is, none of them was declared.
        if any(_difference(rival, config) is None for rival in loss.term.rivals):
            finding = undecided(finding, loss)
        return finding.saying(
            f"The loss is {loss.term.form.describe()}; {difference}.", where=_where(difference)
        ).prescribe("the declared loss on both sides", loss__form="declared")
    return _of_weights(finding, loss, config)


def _of_weights(finding: Finding, loss: LossForensics, config: Manifest) -> Finding:
    strength = strength_against_declared(loss, config)
    if loss.mix is None:
        return finding
    if named_strength(strength, loss, config):
        return finding
    if strength is None or not SAME_STRENGTH <= max(strength, 1 / strength) < IMBALANCE:
        return excluded(finding, loss)
    weights = f"{loss.mix.ce_weight:.3g} x labels + {loss.mix.kd_weight:.3g} x teacher"
    # Not weighed against the declared *term*, which may well be right: the mixture is what differs.
    return (
        Finding()
        .supported_by(
            PROBE,
            "relative_strength",
            strength,
            f"the total is {weights} on every step",
            threshold=SAME_STRENGTH,
            grade=Grade.PROOF,
        )
        .saying(
            f"The terms are mixed as {weights}, not as declared.",
            where="kd_run.yaml: distillation.alpha",
            severity="warning",
        )
        .prescribe("the declared weights", loss__weights="declared")
    )


def _of_nothing_known(
    finding: Finding, loss: LossForensics, mistakes: LossMistakes, config: Manifest, held_out: Gaps | None
) -> Finding:
    """By exclusion: not what was declared, and no mistake that has a code of its own."""
    astray, error = mistakes.astray, loss.declared_error
    if astray is None or error is None or error < FAR_OFF or loss.steps < FEWEST_STEPS or config.task == "tokens":
        return finding
    if astray.follows >= IN_STEP or measures_no_distance(astray):
        # A factor that moves from step to step may be a schedule; what measures no distance has a code of its own.
        return finding
    finding = finding.supported_by(
        PROBE,
        "declared_error",
        error,
        f"the recorded distillation loss is off the declared one by {error:.0%}, by another factor on each of "
        f"{loss.steps} steps, and no form that is known reproduces it",
        threshold=FAR_OFF,
        origin="convention",
        weight=5.0,
    )
    if not _suffered(held_out):
        finding = finding.against(
            "example-gaps",
            "below_teacher",
            None if held_out is None else held_out.gaps.teacher_accuracy - held_out.gaps.student_accuracy,
            "the student came out well, or nobody knows: the formula may be its author's own",
            threshold=CLOSE,
            origin="convention",
            weight=4.0,
        )
    return (
        replace(finding, by_exclusion=True)
        .saying(
            f"The distillation loss is not {FAMILY_TEXT[str(config.distillation.loss)]}, which was declared, nor any "
            "mistake that is known.",
            where="the training loop: the distillation loss; kd_run.yaml: distillation.loss",
            severity="warning",
        )
        .prescribe("the declared loss", loss__form="declared")
    )


def _suffered(held_out: Gaps | None) -> bool:
    """Whether the student is below its labels-only twin, or no better and far below its teacher."""
    return held_out is not None and not held_out.surely_gained and behind(held_out, CLOSE) is True


def _top_classes(mistakes: LossMistakes) -> bool:
    found = mistakes.of("KD209")
    return found is not None and found.name == "labels" and mistakes.labels_are_tops


def _of_top_classes(finding: Finding) -> Finding:
    """Targets that are the labels and the teacher's top classes at once: of the two, KD209 names the first."""
    return (
        finding.supported_by(
            "loss-mistakes",
            "labels_are_tops",
            1.0,
            "the targets are one class a row, on every recorded row the label and the teacher's top class alike",
            weight=4.5,
        )
        .saying(
            "The targets may be the teacher's top class alone, where its probabilities were declared.",
            where="kd_run.yaml: distillation.loss",
        )
        .prescribe("the declared loss", loss__form="declared")
    )


def _difference(form: LossForm, config: Manifest) -> str | None:
    declared, temperature = config.distillation.loss, config.distillation.temperature
    transforms = (form.teacher_transform, form.student_transform)
    if form.axis == "batch" or not form.masked or "softmax" in transforms or form.family in NAMED_ELSEWHERE:
        return None
    found = form.objective.family
    if found != declared and found not in OPPOSITE.get(declared or "", ()):
        return f"{declared} was declared"
    if transforms == ("standardised", "standardised"):
        return "plain logits were declared"
    if temperature is None or declared == "mse":
        return None
    sides = (("teacher", form.teacher_temperature), ("student", form.student_temperature))
    off = [name for name, t in sides if abs(t / temperature - 1) > SAME_TEMPERATURE]
    if not off:
        return None
    if len(off) == 1:
        return f"T = {temperature:g} was declared for both sides, and the {off[0]}'s side has another"
    return f"T = {temperature:g} was declared"


def _where(difference: str) -> str:
    key = "temperature" if "T = " in difference else "loss"
    return f"kd_run.yaml: distillation.{key}"
