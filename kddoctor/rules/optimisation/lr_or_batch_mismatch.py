"""The learning rate, or the size of the batches, belongs to another set-up.

What it checks
    Too high: steps longer than the first-order model needs to bring the loss to zero, a loss that jumps above its
    first value, or that had fallen and rose again to where it began, answers that no longer depend on the input
    although they did at first, and that are not even the best constant ones; a rate that rises to the end, past
    what was declared. Batch too large: one update an epoch in a student that is still behind. Too low: a thousand
    updates that took off less than half of the loss, at a steady pace; or a student that knows next to nothing,
    after steps of plain gradient descent that might have been a hundred times as long, or at a rate below Adam's
    usual one; or a loss that never levelled at a rate of Adam for adapting weights that are good already. Hundreds
    of updates suffice where the loss fell exactly as its gradients promise, which is only so for short steps.

Why it hurts
    Above the usable range the student loses what it learned, below it the schedule ends before anything is learned. The
    weight of the distillation term acts as a learning rate too.

What it looks like
    "Distillation does not work": a loss that never falls, or that spikes, without a single NaN.

Told apart from
    KD505, where values become non-finite. KD503, whose very first answers are wild. KD502, whose rate is fine and whose
    epochs are few. KD208, where the weight of a term makes the steps too long. A loss that rises with the weight of one
    of its terms.

Fix
    - learning_rate: 0.4   # of eight devices
    + learning_rate: 0.05
    Try a third and three times the rate before any change of the loss.

Treat automatically
    Yes: a short probe finds the rate, and the student is retrained with it.

Read more
    Goyal et al. 2017, arXiv:1706.02677: linear scaling. Loizou et al. 2021, arXiv:2002.10542: Polyak's step size.
"""

from kddoctor.probes.feature_term import FeatureTerm
from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_schedule import LossSchedule
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding
from kddoctor.rules.loss.moving_factor import growth_of_weight
from kddoctor.rules.optimisation.harm import behind, severity
from kddoctor.rules.optimisation.undertrained_distillation import LEVEL
from kddoctor.rules.optimisation.way import (
    SHORT_STEP,
    against_another,
    against_set_back,
    against_shortened,
    efficiency,
    learnt,
    short_way,
)
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Deviations, Factor, LearningRate, Nats, Pace, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "rate-signs"
#: Share of steps that overshoot; of sound runs of the digits at most 0.0014.
OVERSHOOT: Share = 0.015
#: Loss of the beginning over the very first one, and of the end over its lowest value and over the first.
JUMP: Factor = 2.0
LOST: Factor = 1.2
BACK: Factor = 0.8
#: A lowest loss from which something had been learned.
LEARNED: Factor = 0.75
#: Shares of variance between rows: of answers that depend on the input, and of those that do not.
ALIVE: Share = 1e-3
DEAD: Share = 1e-6
#: Nats above ln C of a constant answer that no steps have settled, beyond standard errors of them: gradient descent
#: brings one below ln C in a few dozen, unless each of them is too long.
UNSETTLED: Nats = 0.02
ERRORS: Deviations = 2.0
#: Nats above ln C of a sane first answer.
SANE: Nats = 0.5
#: Updates an epoch, and epochs from which their number is no excuse.
ONE: Factor = 1.01
EPOCHS: Count = 10
#: Rows of a batch that is large; where a smaller one holds the training set, that set is small.
LARGE: Count = 128
#: Training rows below which a usual batch holds them all: where hundreds of updates were made all the same, they are
#: few (KD602), and the batch is not large.
SMALL_SET: Count = 256
#: Gradient that the optimizer got over that of the loss, and growth of the loss that is a divergence.
SCALED: Factor = 1.5
EXPLODED: Factor = 10.0
#: Rate of Adam that is a hundred times its default.
ADAM: LearningRate = 0.1
#: Multiple of a rate, the declared one or Adam's own, beyond which (or below one over which) a rate is another one, and
#: mean over the largest rate of one that climbs.
RISEN: Factor = 2.0
CLIMBS: Share = 0.9
#: Adam's own rate, and updates from which their number is no excuse.
DEFAULT: LearningRate = 1e-3
SOME: Count = 100
#: Share of what the teacher knows of the labels, in nats, of a student that has not come anywhere.
LEARNT: Share = 0.2
#: Updates, loss left over and pace of a rate that is too low.
MANY: Count = 1000
LEFT: Factor = 0.5
STEADY: Pace = 0.7
#: Rate of Adam up to which weights are adapted that are good already (Devlin et al. 2019: 5e-5 at the most), doubled;
#: and loss left over, half of the above: these would have levelled soon.
ADAPTING: LearningRate = 1e-4
LEFT_ADAPTING: Factor = 0.25
#: Updates from which their number is no excuse for steps that are short for certain.
HUNDREDS: Count = 200
#: Fall of the loss over what gradient descent promises of steps that might be longer: of sound runs of the digits at
#: most 0.18. And the share of the loss that a long step takes off, where nobody said what the momentum is.
PROMISED: Share = 0.5
STRIDE: Share = 0.01


@rule(
    "KD501",
    name="lr-or-batch-mismatch",
    family="optimisation",
    title="The learning rate or the batch belongs to another set-up",
    stage=51,
    reads=(RateSigns, Manifest),
    uses=(
        StudentPath,
        Observations,
        FeatureTerm,
        Gaps,
        LearningCurve,
        ScaleFit,
        LossForensics,
        TrainGaps,
        LossSchedule,
    ),
    masks=(
        "KD305",
        "KD307",
        "KD401",
        "KD402",
        "KD405",
        "KD502",
        "KD504",
    ),
)
def lr_or_batch_mismatch(
    signs: RateSigns,
    config: Manifest,
    path: StudentPath | None,
    seen: Observations | None,
    feature: FeatureTerm | None,
    held_out: Gaps | None,
    curve: LearningCurve | None,
    fit: ScaleFit | None,
    loss: LossForensics | None = None,
    train: TrainGaps | None = None,
    schedule: LossSchedule | None = None,
) -> Finding:
    finding = _of_others(Finding(), path, curve)
    idle = seen is not None and bool(seen.parameters_not_in_optimizer or seen.frozen_parameters)
    sane = path is None or path.begins_late or path.excess[0] < SANE
    if sane and not idle and feature is None:
        finding = _too_high(finding, signs, config, path, growth_of_weight(schedule, config))
        finding = _too_low(finding, signs, config)
        finding = _never_reached(_rising(finding, signs, config, curve), signs, config)
        # How long a step ought to be is read off the loss, and of this one nobody knows what it asks for.
        finding = finding if loss is not None and loss.unexplained else _too_short(finding, signs, config, path)
    few_rows = train is not None and train.gaps.n < SMALL_SET and signs.updates >= HUNDREDS
    large = (config.training.batch_size or 0) >= LARGE and not few_rows
    epochs = signs.updates / signs.per_epoch if signs.per_epoch else 0.0
    if signs.per_epoch is not None and signs.per_epoch < ONE and epochs >= EPOCHS and large and behind(held_out):
        finding = finding.supported_by(
            PROBE,
            "per_epoch",
            signs.per_epoch,
            f"one batch holds the whole training set: {signs.updates} updates in {epochs:.0f} epochs",
            threshold=ONE,
            weight=5.5,
        )
    finding = against_shortened(against_another(against_set_back(finding, signs), path, fit), signs, config)
    if not finding.evidence:
        finding = finding.against(
            PROBE,
            "end",
            signs.end,
            f"no step is too long, and the loss fell to {signs.end:.0%} of its first value without jumping",
            threshold=BACK,
            weight=3.0,
        )
    return finding.saying(
        "The learning rate or the batch size does not fit this set-up.",
        where="kd_run.yaml: training.learning_rate, training.batch_size",
        severity=severity(held_out),
    ).prescribe("the rate that a short probe finds", safety="careful", treatment__learning_rate="probe either way")


def _of_others(finding: Finding, path: StudentPath | None, curve: LearningCurve | None) -> Finding:
    """Causes other than the rate for steps that are too long, and divergence."""
    ratio = None if path is None else path.gradient_ratio
    if ratio is not None and ratio > SCALED:
        finding = finding.against(
            "student-path",
            "gradient_ratio",
            ratio,
            f"the optimizer got {ratio:.1f} times the gradient of the loss: the rate may be fine",
            threshold=SCALED,
            weight=10.0,
        )
    if curve is not None and (curve.explosion > EXPLODED or curve.nonfinite):
        finding = finding.against(
            "learning-curve",
            "explosion",
            curve.explosion,
            "the loss exploded or became non-finite, which is a divergence",
            threshold=EXPLODED,
            origin="convention",
            weight=6.0,
        )
    return finding


def _too_high(finding: Finding, signs: RateSigns, config: Manifest, path: StudentPath | None, grown: float) -> Finding:
    """grown: times its first weight that a term has later on, by which the total may rise as well."""
    if signs.overshoots is not None and signs.overshoots > OVERSHOOT:
        finding = finding.supported_by(
            PROBE,
            "overshoots",
            signs.overshoots,
            f"{signs.overshoots:.1%} of steps are longer than a first-order model needs to bring the loss to zero",
            threshold=OVERSHOOT,
            origin="Polyak's step size; share calibrated on digits",
            # A loss whose gradient is out of proportion has long steps as well.
            weight=3.5,
        )
    if signs.peak > JUMP * grown:
        finding = finding.supported_by(
            PROBE,
            "peak",
            signs.peak,
            f"at the beginning the loss rose to {signs.peak:.1f} times its first value",
            threshold=JUMP,
            origin="convention",
            weight=5.0,
        )
    lost = signs.low < LEARNED and signs.end > LOST * grown * signs.low and signs.end > BACK * grown
    if lost:
        finding = finding.supported_by(
            PROBE,
            "end",
            signs.end,
            f"the loss had fallen to {signs.low:.0%} of its first value and ended at {signs.end:.0%}",
            threshold=BACK,
            origin="convention",
            # Resuming from an old checkpoint, a broken optimizer and a wrong rate look alike by this alone.
            weight=3.5,
        )
    if path is not None and path.dependence[0] > ALIVE and path.late("dependence") < DEAD:
        finding = finding.supported_by(
            "student-path",
            "dependence",
            path.late("dependence"),
            "at the end the student's answers no longer depend on its input, as they did at its first step",
            threshold=DEAD,
            weight=2.0 if not lost else 3.0,
        )
        finding = _of_constants(finding, path)
    if _adam(config) and signs.rate is not None and signs.rate > ADAM:
        finding = finding.supported_by(
            "manifest",
            "learning_rate",
            signs.rate,
            f"Adam moves every weight by up to {signs.rate:g} a step, a hundred times its usual {ADAM / 100:g} or more",
            threshold=ADAM,
            origin="convention",
            weight=4.5,
        )
    return finding


def _of_constants(finding: Finding, path: StudentPath) -> Finding:
    """What is left of a student whose units are dead are its last biases, which no step of a fair length misses."""
    excess = path.late("excess")
    if excess <= max(UNSETTLED, ERRORS * path.late_error("excess")):
        return finding
    return finding.supported_by(
        "student-path",
        "excess",
        excess,
        f"and these are worse than not knowing anything, by {excess:.2g} nats: even the constants are thrown about",
        threshold=UNSETTLED,
        origin="identity of gradient descent",
        weight=3.0,
    )


def _rising(finding: Finding, signs: RateSigns, config: Manifest, curve: LearningCurve | None) -> Finding:
    """A rate that climbs to the very end, past what was declared: warm-ups end at that, and decays below it."""
    declared = config.training.learning_rate
    if curve is None or not declared or signs.rate is None or signs.spent is None or signs.updates < SOME:
        return finding
    if curve.final_rate != 1.0 or signs.spent > CLIMBS or signs.rate <= RISEN * declared:
        return finding
    return finding.supported_by(
        PROBE,
        "rate",
        signs.rate,
        f"the learning rate rose to the end, to {signs.rate / declared:.1f} times the declared {declared:g}",
        threshold=RISEN * declared,
        origin="convention",
        weight=4.5,
    )


def _never_reached(finding: Finding, signs: RateSigns, config: Manifest) -> Finding:
    """A warm-up that outlasts the run, or a factor on the way to the optimizer: no step had even half of the rate."""
    declared = config.training.learning_rate
    if not declared or not signs.rate or signs.updates < SOME or signs.rate * RISEN > declared:
        return finding
    return finding.supported_by(
        PROBE,
        "rate",
        signs.rate,
        f"in {signs.updates} updates the learning rate was {signs.rate:.2g} at the most, "
        f"{signs.rate / declared:.1%} of the declared {declared:g}",
        threshold=declared / RISEN,
        origin="convention",
        weight=5.0,
    )


def _too_low(finding: Finding, signs: RateSigns, config: Manifest) -> Finding:
    updates = HUNDREDS if _short_for_certain(signs, config) else MANY
    adapting = _adam(config) and signs.rate is not None and signs.rate <= ADAPTING
    left, steady = (LEFT_ADAPTING, LEVEL) if adapting else (LEFT, STEADY)
    if signs.updates < updates or not left <= signs.end <= 1 or not steady < signs.pace < signs.pace_high < 2:
        return finding
    return finding.supported_by(
        PROBE,
        "pace",
        signs.pace,
        f"{signs.updates} updates took off {1 - signs.end:.0%} of the loss, which still falls at "
        f"{signs.pace:.1f} times its average pace" + (f", at Adam's {signs.rate:.1g}" if adapting else ""),
        threshold=steady,
        origin="convention",
        weight=5.0,
    )


def _short_for_certain(signs: RateSigns, config: Manifest) -> bool:
    """The loss fell as a first-order model says, so that nothing but the rate limits how far a step leads."""
    if _adam(config) and signs.rate is not None and signs.rate * RISEN < DEFAULT:
        return True  # what Adam moves a weight by in a step does not depend on the loss
    found = efficiency(signs, config)
    if found is None or found < PROMISED:
        return False
    # A momentum of 0.9 that nobody mentions makes steps ten times as long: a tenth of the loss is none too long either.
    return config.training.momentum is not None or (signs.stride is not None and signs.stride < STRIDE)


def _adam(config: Manifest) -> bool:
    return (config.training.optimizer or "").lower().startswith("adam")


def _too_short(finding: Finding, signs: RateSigns, config: Manifest, path: StudentPath | None) -> Finding:
    """Steps so short that even a hundred times their length would be none too long, and that led nowhere."""
    if short_way(signs, config, path) and signs.stride is not None and signs.stride < SHORT_STEP:
        return finding.supported_by(
            PROBE,
            "stride",
            signs.stride,
            f"even long steps are {signs.stride:.1g} of what a first-order model needs to bring the loss to zero, all "
            f"{signs.updates} together {signs.travel:.2g}",
            threshold=SHORT_STEP,
            origin="Polyak's step size, with a momentum of 0.9",
            weight=5.5,
        )
    if not _adam(config) or path is None or signs.rate is None or signs.rate >= DEFAULT or signs.updates < SOME:
        return finding
    share = learnt(path)
    if share >= LEARNT or signs.end > LOST or path.late("dependence") < ALIVE:
        return finding
    return finding.supported_by(
        PROBE,
        "rate",
        signs.rate,
        f"after {signs.updates} updates of at most {signs.rate:.1g}, below Adam's usual {DEFAULT:g}, the student knows "
        f"{max(0.0, share):.0%} of what its teacher does of the labels",
        threshold=DEFAULT,
        origin="Kingma & Ba 2015",
        weight=4.5,
    )
