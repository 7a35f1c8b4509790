"""The schedule ended while the student was still improving.

What it checks
    Whether accuracy (or agreement) on held-out rows still rose in the last third of the schedule, by a robust line and
    its 90 % interval; whether the training loss fell in the second half as fast as on average, or had not levelled when
    the learning rate was wound down; whether that was so early that hardly any full step was taken; whether all updates
    together, at a rate that is no lower than usual, were too short a way to learn anything; whether most updates had no
    gradient at all; whether fewer than a hundred updates left training rows unlearnt, fewer than anybody trains for;
    whether the student is still clearly below its teacher, on training rows as well; and whether the same schedule
    sufficed for the labels alone. A loss that no known form reproduces speaks against it.

Why it hurts
    Matching a function takes many more steps than fitting labels. A run that is stopped early measures the schedule,
    not the method.

What it looks like
    The best epoch is the last one; a longer run wins.

Told apart from
    A learning rate that was wound down, which lifts the last epochs of every run and then holds them level: then
    neither proves anything, and what the loss did before counts. KD401
    and KD402, where the curves are level. KD501, where the learning rate is so low that no affordable schedule
    is long enough.

Fix
    - epochs: 10
    + epochs: 40

Treat automatically
    Yes: the student is retrained with four times the epochs, or with as many as a thousand updates take, where that is
    more.

Read more
    Beyer et al. 2022, arXiv:2106.05237: patience.
"""

import math
from typing import Literal

from scipy.stats import theilslopes

from kddoctor.probes.learning_curve import LearningCurve, Trend
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.output_fit import OutputFit
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.data.few_rows import SMALL_SET, FewRows, few_rows
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.optimisation.longer import times_longer
from kddoctor.rules.optimisation.way import (
    SHORT_STEP,
    SHORT_WAY,
    UNFITTED,
    against_another,
    against_come_back,
    against_set_back,
    against_shortened,
    against_untaught,
    efficiency,
    outputs,
    short_way,
)
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Pace, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "learning-curve"
#: How surely the training loss still fell.
Falling = Literal["certainly", "perhaps", "no"]
#: Points that another schedule of the same length would add at the final slope.
STILL_RISING: Share = 0.06
#: Points below the teacher from which more training is worth asking for.
BELOW_TEACHER: Share = 0.02
#: Share of the gap to the teacher that another schedule has to promise, for the schedule to be the cause.
SHARE_OF_GAP: Share = 0.25
#: Of the points that are missing on held-out rows, those that are missing on training rows where steps are too few.
SMALL_PART: Share = 0.25
LONGER = 4
#: Share of its largest value at which a learning rate has been wound down. What still rises then rises because of it,
#: as after every step of a step-wise decay, and would not go on.
ANNEALED: Share = 0.1
#: The pace of a loss that has not slowed down.
AVERAGE_PACE: Pace = 1.0
#: Pace in the second half from which a loss had not levelled. That of exp(-kt) is k exp(-3k/4) / (1 - exp(-k)) over a
#: schedule of length 1, which is 0.4 at k = 2.6: then exp(-k) = 7 % of what can be lost is left.
LEVEL: Pace = 0.4
#: Share of a linear extrapolation that comes true: curves flatten.
COMES_TRUE: Share = 1 / 3
#: Nats for a rise that is relevant for certain or that a longer run would show, and for one that is above zero only.
CERTAINLY_RISING, PERHAPS_RISING = 5.0, 2.5
#: Share of the gap to the teacher that the labels alone close in the same schedule, for it to be long enough.
ENOUGH: Share = 0.5
#: Pace in the second half of a loss that had not levelled for certain, where its last layer has not arrived either; of
#: sound runs of the digits at most 0.1 without augmentation.
FALLING: Pace = 0.2
#: Factors that leave the size of the logits as it is.
RIGHT_SIZE = (0.95, 1.1)
#: Share of its objective that a linear map removes from a student whose last layer has arrived; students that were
#: stopped too early leave 0.16 and more on the digits. And share of the way to the teacher that is much to be left.
ARRIVED: Share = 0.05
MUCH: Share = 0.08
#: Early fall of the loss over what its gradients promise, of steps that are wrong; and updates from which it shows.
LITTLE: Factor = 0.03
HUNDRED: Count = 100
DOZENS: Count = 50
#: Epochs up to which a schedule of few updates is short, and not its batches large; and updates of one from which they
#: are not.
FEW_EPOCHS: Count = 2
SEVERAL: Factor = 2.0
#: Recorded steps from which they show a course, and the last ones whose mean is its end.
FEWEST_STEPS: Count = 6
FEWEST_LATE: Count = 2
#: Share of the first divergence from which a student that comes closer has most of its way before it, and its nats.
UNREACHED: Share = 0.3
FAR_TOO_FEW = 4.5
#: Of the slope of that divergence.
INTERVAL: Share = 0.9
#: Share of the optimizer's steps without any gradient, from which most of the schedule is missing.
MOST: Share = 0.5
#: Mean learning rate over its largest value: 0.5 of a cosine, 0.37 of a step to a tenth after each third. And points on
#: training rows that have to be missing for it to matter.
SPENT: Share = 0.1
UNFITTED_ROWS: Share = 0.1
#: Nats for a loss that certainly fell no slower than on average, and for one that did not certainly fall slower.
CERTAINLY_STEADY, PERHAPS_STEADY = 5.0, 3.0


@rule(
    "KD502",
    name="undertrained-distillation",
    family="optimisation",
    title="The schedule ended while the student was still improving",
    stage=52,
    reads=(Manifest,),
    uses=(LearningCurve, Gaps, LossForensics, RateSigns, TrainGaps, StudentPath, ScaleFit, OutputFit, Observations),
    masks=("KD402", "KD401"),
)
def undertrained_distillation(
    config: Manifest,
    curve: LearningCurve | None,
    held_out: Gaps | None,
    loss: LossForensics | None,
    signs: RateSigns | None,
    train: TrainGaps | None,
    path: StudentPath | None,
    fit: ScaleFit | None,
    output: OutputFit | None,
    seen: Observations | None = None,
) -> Finding | NotExamined:
    if curve is None:
        return _of_few_steps(config, path, held_out, train, loss)
    annealed = curve.final_rate is not None and curve.final_rate <= ANNEALED
    finding, falling = _of_loss(Finding(), curve, annealed)
    finding, falling = _of_empty_updates(finding, falling, seen)
    if annealed and signs is not None:
        finding, falling = _of_full_rate(finding, signs)
        found = outputs(output, path, fit)
        if falling == "no" and found is not None:
            finding, falling = _of_outputs(finding, signs, found)
    if signs is not None:
        finding, falling = _of_steps(finding, falling, signs, config, short=short_way(signs, config, path), train=train)
    if curve.quality is None and not finding.evidence:
        return _of_few_steps(config, path, held_out, train, loss)
    if curve.quality is not None:
        finding = _of_quality(finding, curve, curve.quality, held_out, falling, few=_few_updates(signs))
    if held_out is not None:
        gone = _empty(seen) >= MOST or _rate_was_gone(signs)
        finding = _of_gaps(finding, curve, held_out, gone=gone, few=_few_updates(signs))
    finding = against_set_back(against_come_back(finding, signs), signs)
    finding = against_untaught(against_another(finding, path, fit), path)
    few = any(evidence.measure == "updates" for evidence in finding.supporting)
    finding = _against_arrived(finding, outputs(output, path, fit), signs if few else None)
    finding = _against_few_rows(finding, few_rows(signs, config))
    if signs is not None:
        finding = _of_promise(against_shortened(finding, signs, config), signs, config)
    finding = _of_others(finding, train, held_out, loss, falling)
    updates = None if signs is None else signs.updates
    said = _said(finding, config.training.epochs or max(1, round(curve.epochs) or 1), updates)
    if not any(evidence.measure == "spent" for evidence in finding.supporting):
        return said
    return said.saying(
        "The learning rate was wound down before the student had learned.",
        where="the training loop: the schedule of the learning rate; kd_run.yaml: training.epochs",
        severity="warning",
    )


def _empty(seen: Observations | None) -> float:
    """Share of the optimizer's steps at which nothing had a gradient."""
    if seen is None or seen.updates is None or not seen.updates.all:
        return 0.0
    return (seen.updates.empty or 0) / seen.updates.all


def _of_empty_updates(finding: Finding, falling: Falling, seen: Observations | None) -> tuple[Finding, Falling]:
    share = _empty(seen)
    if share < MOST:
        return finding, falling
    return finding.supported_by(
        "observations",
        "empty_updates",
        share,
        f"at {share:.1%} of the optimizer's steps no parameter had a gradient: the schedule is that much shorter",
        threshold=MOST,
        origin="identity",
        grade=Grade.INTERVENTIONAL,
        weight=5.0,
        group="pace",
    ), "certainly"


def _of_steps(
    finding: Finding, falling: Falling, signs: RateSigns, config: Manifest, *, short: bool, train: TrainGaps | None
) -> tuple[Finding, Falling]:
    """What all steps together were worth, in length, in rate and in number."""
    if short and (signs.stride or 0.0) >= SHORT_STEP:
        finding, falling = _of_way(finding, signs), "certainly"
    if _rate_was_gone(signs) and _unfitted(train):
        finding, falling = _of_rate(finding, signs), "certainly"
    return _of_count(finding, signs, _per_epoch(signs, config), short_of_its_rows=_short_of_its_rows(train)), falling


def _per_epoch(signs: RateSigns, config: Manifest) -> float | None:
    """Updates of an epoch: as logged, or of as many epochs as were asked for."""
    if signs.per_epoch is not None or not config.training.epochs:
        return signs.per_epoch
    return signs.updates / config.training.epochs


def _said(finding: Finding, epochs: int, updates: int | None) -> Finding:
    times = times_longer(updates, LONGER)
    return finding.saying(
        "Training ended while the student was still improving.",
        where="kd_run.yaml: training.epochs",
        severity="warning",
    ).prescribe(f"{times} times the epochs", safety="careful", training__epochs=times * epochs)


def _of_few_steps(
    config: Manifest,
    path: StudentPath | None,
    held_out: Gaps | None,
    train: TrainGaps | None,
    loss: LossForensics | None,
) -> Finding | NotExamined:
    """A training so short that its log shows no trend: what the student answered at recorded steps has to tell."""
    epochs = config.training.epochs
    updates = 0 if path is None else int(path.step[-1]) + 1
    few = path is not None and len(path.step) >= FEWEST_STEPS and not path.begins_late and updates < HUNDRED
    if path is None or held_out is None or not few or (epochs is not None and epochs > FEW_EPOCHS):
        return NotExamined(*RECORD["LearningCurve"])
    trend = theilslopes(path.kl, path.step, alpha=INTERVAL)
    left = float(path.kl[-FEWEST_LATE:].mean() / path.kl[0])
    finding = Finding()
    if trend.high_slope < 0 and left > UNREACHED:
        finding = finding.supported_by(
            "student-path",
            "updates",
            float(updates),
            f"after {updates} updates in all, the divergence from the teacher was still {left:.0%} of its first value",
            threshold=float(HUNDRED),
            origin="convention",
            weight=FAR_TOO_FEW,
            group="pace",
        )
    finding = _against_near(_against_the_twin(finding, held_out), held_out)
    finding = _of_others(finding, train, held_out, loss, "certainly" if finding.supporting else "no")
    return _said(finding, epochs or 1, updates)


def _short_of_its_rows(train: TrainGaps | None) -> bool:
    """Whether the student does not know on its training rows what its teacher does there, beyond noise."""
    if train is None:
        return False
    own = train.gaps.student_accuracy
    error = noise_of_difference(standard_error(own, train.gaps.n))
    return train.gaps.teacher_accuracy - own > max(BELOW_TEACHER, error)


def _of_count(finding: Finding, signs: RateSigns, per_epoch: float | None, *, short_of_its_rows: bool) -> Finding:
    """So few updates as nobody trains for, and a student that does not know its training rows, or whose loss certainly
    still falls: all in one or two epochs, or without having levelled. After a few dozen, noise is no proof that it had.
    """
    few = per_epoch is not None and signs.updates <= FEW_EPOCHS * per_epoch
    falls = signs.pace_low > 0 and (few or signs.pace_low >= LEVEL)
    # One batch of all rows is too large a batch, however few the updates are (KD501).
    several = per_epoch is not None and per_epoch >= SEVERAL
    unlearnt = several and short_of_its_rows
    dozens = few and signs.updates < DOZENS and signs.pace_high >= LEVEL
    if signs.updates >= HUNDRED or not (falls or unlearnt or dozens):
        return finding
    return finding.supported_by(
        "rate-signs",
        "updates",
        float(signs.updates),
        f"after {signs.updates} updates in all the loss still fell at {signs.pace:.1f} times its average pace"
        if falls
        else f"after {signs.updates} updates, and no more, the loss stands at {signs.end:.0%} of its first value",
        threshold=float(HUNDRED if falls or unlearnt else DOZENS),
        origin="convention",
        weight=CERTAINLY_STEADY if falls else FAR_TOO_FEW,
        group="pace",
    )


def _unexplained(loss: LossForensics) -> bool:
    return loss.kd_always_zero or loss.unexplained


def _of_others(
    finding: Finding, train: TrainGaps | None, held_out: Gaps | None, loss: LossForensics | None, falling: str
) -> Finding:
    """What training rows say of it, and whether anybody knows what was minimised."""
    if train is not None:
        finding = _of_training_rows(finding, train, held_out, falling)
    if loss is None or not _unexplained(loss):
        return finding
    return finding.against(
        "loss-forensics",
        "relative_error",
        None,
        "no form that is known reproduces the recorded loss: what it asks for comes before how long it was asked",
        weight=5.0,
    )


def _few_updates(signs: RateSigns | None) -> bool:
    return signs is not None and signs.updates < HUNDRED


def _of_quality(
    finding: Finding, curve: LearningCurve, trend: Trend, held_out: Gaps | None, falling: str, *, few: bool
) -> Finding:
    annealed = curve.final_rate is not None and curve.final_rate <= ANNEALED
    text = (
        f"held-out {curve.quality_key} rises by {trend.rise:+.3f} per schedule at the end "
        f"(90 % interval {trend.low:+.3f} to {trend.high:+.3f})"
    )
    if trend.low > 0 and trend.rise > STILL_RISING:
        # After so few updates as nobody trains for, a rate that was wound down is no reason for what still rises.
        certain = few or (not annealed and (trend.low > STILL_RISING or _measurable(trend.rise, held_out)))
        weight = CERTAINLY_RISING if certain else PERHAPS_RISING
        finding = finding.supported_by(
            PROBE, "rise", trend.rise, text, threshold=STILL_RISING, origin="convention", weight=weight
        )
        if trend.best_is_last:
            finding = finding.supported_by(
                PROBE, "best", trend.best, "the best evaluation is at the very end", weight=1.0
            )
    elif trend.high < STILL_RISING and falling != "certainly":
        # An interval that holds both no rise and a steep one says nothing either way.
        finding = finding.against(
            PROBE,
            "rise",
            trend.rise,
            text,
            threshold=STILL_RISING,
            origin="convention",
            # Accuracy can stand still for a while, as long as the loss still falls.
            weight=2.0 if falling == "perhaps" else 8.0,
        )
    return finding


def _of_gaps(finding: Finding, curve: LearningCurve, held_out: Gaps, *, gone: bool, few: bool) -> Finding:
    """few: updates, of which many times as many would be another matter than as many again."""
    if curve.quality is not None and not few:
        finding = _against_the_gap(finding, curve, curve.quality.rise, held_out)
    # What a rate that was gone left undone, another run with another rate says nothing of.
    return _against_near(finding if gone else _against_the_twin(finding, held_out), held_out)


def _rate_was_gone(signs: RateSigns | None) -> bool:
    """Whether all updates together are worth no more than a few at full rate; half of them is what cosine leaves."""
    return signs is not None and signs.spent is not None and signs.spent < SPENT


def _unfitted(train: TrainGaps | None) -> bool:
    return train is not None and train.gaps.teacher_accuracy - train.gaps.student_accuracy > UNFITTED_ROWS


def _of_rate(finding: Finding, signs: RateSigns) -> Finding:
    return finding.supported_by(
        "rate-signs",
        "spent",
        signs.spent,
        f"the learning rate was gone early: its mean is {signs.spent:.1%} of its largest value, so that "
        f"{signs.updates} updates are worth {signs.updates * (signs.spent or 0.0):.0f} full ones",
        threshold=SPENT,
        origin="a fifth of what a cosine leaves; convention",
        weight=CERTAINLY_STEADY,
    )


def _against_near(finding: Finding, held_out: Gaps) -> Finding:
    below = held_out.gaps.teacher_accuracy - held_out.gaps.student_accuracy
    if below < BELOW_TEACHER:
        finding = finding.against(
            "example-gaps",
            "below_teacher",
            below,
            f"the student is {100 * below:.1f} points below its teacher: little is left to gain",
            threshold=BELOW_TEACHER,
            origin="convention",
            grade=Grade.STATISTICAL,
            weight=8.0,
        )
    return finding


def _of_training_rows(finding: Finding, train: TrainGaps, held_out: Gaps | None, falling: str) -> Finding:
    own, teacher = train.gaps.student_accuracy, train.gaps.teacher_accuracy
    left = 0.0 if held_out is None else held_out.gaps.teacher_accuracy - held_out.gaps.student_accuracy
    if teacher - own < SMALL_PART * left:
        return finding.against(
            "example-gaps",
            "train_accuracy",
            own,
            f"of training rows {own:.1%} are right, of the teacher's {teacher:.1%}: the {100 * left:.0f} points that "
            "are missing on others are not missing for want of steps",
            threshold=teacher - SMALL_PART * left,
            origin="convention",
            weight=5.0,
        )
    if falling != "no" and own < teacher - max(BELOW_TEACHER, noise_of_difference(standard_error(own, train.gaps.n))):
        return finding.supported_by(
            "example-gaps",
            "train_accuracy",
            own,
            f"nor are the training rows fitted: student {own:.1%}, teacher {teacher:.1%}",
            threshold=teacher - BELOW_TEACHER,
            origin="convention",
            weight=2.0,
        )
    if own < teacher:
        return finding
    return finding.against(
        "example-gaps",
        "train_accuracy",
        own,
        f"on training rows the student, with {own:.1%} right, is no worse than its teacher ({teacher:.1%})",
        threshold=teacher,
        weight=5.0,
    )


def _against_the_twin(finding: Finding, held_out: Gaps) -> Finding:
    """The same schedule that is said to be too short sufficed for the labels alone."""
    twin, gaps = held_out.gaps.baseline_accuracy, held_out.gaps
    if twin is None:
        return finding
    ahead, gap = twin - gaps.student_accuracy, gaps.teacher_accuracy - gaps.student_accuracy
    error = standard_error(gaps.student_accuracy, gaps.n)
    if ahead <= max(noise_of_difference(error), ENOUGH * gap):
        return finding
    return finding.against(
        "example-gaps",
        "baseline_accuracy",
        twin,
        f"in the same schedule the labels alone made a student that is right on {twin:.1%}",
        threshold=gaps.student_accuracy + ENOUGH * gap,
        origin="convention",
        weight=5.0,
    )


def _measurable(rise: float, held_out: Gaps | None) -> bool:
    """Whether what comes true of the rise would stand out from the noise of these rows."""
    if held_out is None:
        return False
    error = standard_error(held_out.gaps.student_accuracy, held_out.gaps.n)
    return rise * COMES_TRUE > noise_of_difference(error)


def _against_the_gap(finding: Finding, curve: LearningCurve, rise: float, held_out: Gaps) -> Finding:
    """A slow rise below a wide gap, with a loss that has slowed down: not the schedule holds the student back."""
    if curve.pace is None or curve.pace.high >= AVERAGE_PACE:
        return finding
    gap = held_out.gaps.teacher_accuracy - held_out.gaps.student_accuracy
    if not STILL_RISING < rise < SHARE_OF_GAP * gap:
        return finding
    return finding.against(
        PROBE,
        "rise_of_gap",
        rise / gap,
        f"at that slope another schedule would close only {rise / gap:.0%} of the gap to the teacher",
        threshold=SHARE_OF_GAP,
        origin="convention",
        weight=4.0,
    )


def _of_loss(finding: Finding, curve: LearningCurve, annealed: bool) -> tuple[Finding, Falling]:
    """Whether the training loss, which has more points than the evaluations, still falls without having slowed down."""
    pace = curve.pace
    if annealed or pace is None or not (pace.low > 0 and pace.high >= AVERAGE_PACE):
        return finding, "no"
    text = (
        f"in the second half the training loss fell at {pace.value:.1f} times its average pace "
        f"(90 % interval {pace.low:.1f} to {pace.high:.1f})"
    )
    certain = pace.low >= AVERAGE_PACE
    weight = CERTAINLY_STEADY if certain else PERHAPS_STEADY
    finding = finding.supported_by(PROBE, "pace", pace.value, text, threshold=AVERAGE_PACE, weight=weight)
    return finding, "certainly" if certain else "perhaps"


def _of_full_rate(finding: Finding, signs: RateSigns) -> tuple[Finding, Falling]:
    """Whether the rate was wound down while the loss still fell: what lies flat after that is flat because of it."""
    if not LEVEL < signs.pace < math.inf or not signs.pace_low > 0:
        return finding, "no"
    certain = signs.pace_low >= LEVEL
    finding = finding.supported_by(
        "rate-signs",
        "pace",
        signs.pace,
        f"when the learning rate was wound down, the loss still fell at {signs.pace:.1f} times its average pace "
        f"(90 % interval {signs.pace_low:.1f} to {signs.pace_high:.1f})",
        threshold=LEVEL,
        origin="of an exponential decay, 7 % of what can be lost is left at that pace",
        weight=CERTAINLY_STEADY if certain else PERHAPS_STEADY,
    )
    return finding, "certainly" if certain else "perhaps"


def _of_outputs(finding: Finding, signs: RateSigns, output: OutputFit) -> tuple[Finding, Falling]:
    """A last layer that has not arrived, beside a loss that had not levelled: a level one would be a constraint."""
    falls = math.isfinite(signs.pace) and signs.pace_low >= FALLING  # of a loss that never moved the pace is no number
    if output.gain < UNFITTED or RIGHT_SIZE[0] < output.scale < RIGHT_SIZE[1] or not falls:
        return finding, "no"
    finding = finding.supported_by(
        "output-fit",
        "gain",
        output.gain,
        f"a linear map of the student's outputs would lower its objective on other training rows by {output.gain:.0%}, "
        f"and when the learning rate was wound down, the loss still fell at {signs.pace:.2f} times its average pace",
        threshold=UNFITTED,
        origin="identity where the objective is lowest; calibrated on digits",
        weight=CERTAINLY_STEADY,
    )
    return finding, "certainly"


def _against_arrived(finding: Finding, output: OutputFit | None, few: RateSigns | None) -> Finding:
    """Too few steps leave the last layer short of its own lowest objective, too; of a fast one, few need not.

    few: of a schedule whose updates were counted as too few. Of some dozens no layer has had enough.
    """
    if output is None or output.gain >= ARRIVED or output.left < MUCH or (few and few.updates < DOZENS):
        return finding
    return finding.against(
        "output-fit",
        "gain",
        output.gain,
        f"no linear map of the student's outputs would lower its objective, although {output.left:.0%} of the way to "
        "the teacher is left: its last layer has had steps enough",
        threshold=ARRIVED,
        origin="identity where the objective is lowest; calibrated on digits",
        weight=1.5 if few else 4.0,
    )


def _of_promise(finding: Finding, signs: RateSigns, config: Manifest) -> Finding:
    """A loss that hardly falls although its gradients are long: more of the same steps would not help."""
    found = efficiency(signs, config)
    if found is None or found >= LITTLE or signs.updates < HUNDRED:
        return finding
    return finding.against(
        "rate-signs",
        "efficiency",
        found,
        f"early on the loss fell by {found:.1%} of what its gradients and its rate promise: they are wrong, not few",
        threshold=LITTLE,
        origin="identity of gradient descent; calibrated on digits",
        weight=5.0,
    )


def _against_few_rows(finding: Finding, seen: FewRows | None) -> Finding:
    """Epochs as many as anybody's: more of them would teach the same few rows by heart (KD602)."""
    if seen is None:
        return finding
    return finding.against(
        "rate-signs",
        "rows",
        float(seen.rows),
        f"an epoch has {seen.rows} rows at the most: the updates are few because these are",
        threshold=float(SMALL_SET),
        origin="convention",
        weight=10.0,
    )


def _of_way(finding: Finding, signs: RateSigns) -> Finding:
    return finding.supported_by(
        "rate-signs",
        "travel",
        signs.travel,
        f"the {signs.updates} updates together are {signs.travel:.2f} of what a first-order model needs to bring the "
        f"loss to zero, and none was short for its rate (up to {signs.stride:.1%} of that)",
        threshold=SHORT_WAY,
        origin="identity of gradient descent, with a momentum of 0.9",
        weight=CERTAINLY_STEADY,
    )
