"""The student cannot even fit the hard labels.

What it checks
    Accuracy on *training* rows of the student, of the same student trained on labels alone, and of the teacher, once
    the training loss has certainly slowed down. What a student could hold is not known while it still learns. Whether
    its widest recorded layer has fewer units than most of the teacher's answers need dimensions, all of which may fall
    silent at once; whether its outputs, of fewer dimensions than the teacher's, are as near to these as any linear map
    could bring them; whether most of its weights are exactly zero, as pruning leaves them; and whether anything else, a
    penalty, its start or another student in its place, would explain that it is level.

Why it hurts
    No loss can put into a network what it cannot hold: every change of temperature or weight is wasted time.

What it looks like
    Both the distilled and the labels-only student are low on training rows, and level.

Told apart from
    KD401, where the labels-only student fits the labels well. KD502, where the curves still rise. KD506, where parts
    of the student never learn. Any fault of teacher or loss comes first: no verdict about capacity stands before.

Fix
    Widen the student, raise the adapter's rank, or unfreeze layers; doubling the width helps more than any loss.

Treat automatically
    No: the architecture has to come from you.

Read more
    Mirzadeh et al. 2020, arXiv:1902.03393.
"""

import math

from kddoctor.probes.example_gaps import ExampleGaps
from kddoctor.probes.layer_ranks import LayerRanks
from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.output_fit import OutputFit
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.capacity.exclusion import CUT, against_unfitted, narrow, nothing_else, was_cut
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.optimisation.way import against_another, against_fallen_back, against_set_back, against_untaught
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats, Pace, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "example-gaps"
#: Points of training accuracy below the teacher, and between the two students (taxonomy).
FAR_BELOW: Share = 0.10
ALIKE: Share = 0.02
#: The same as a share of what the teacher is right on, where that is little.
FAR_OF_TEACHER: Share = 0.2
CLOSE: Share = 0.05
#: Share of the gap by which the labels-only twin may be ahead, or that another schedule may promise: more of it, and
#: the student has the capacity.
SHARE_OF_GAP: Share = 0.25
#: Pace, as a multiple of the average, from which a loss has not levelled: on the tasks that rules are developed on,
#: well trained students stay below 0.25 and those whose schedule was cut short above 0.4.
LEVEL_PACE: Pace = 0.4
#: Nats for a held-out score that rises so, and for one that hardly moves.
NOT_FULL, SLOW = 6.0, 1.5
#: Pace below which a loss falls more slowly than it did.
SLOWED: Pace = 1.0
#: Nats for a loss that may not have levelled where the held-out score as good as has.
PERHAPS_LEVEL = 2.0
#: Nats for a gain over the twin that is larger than all that is left.
TRAINING_MATTERS = 3.0
#: A student this close to chance learned nothing, which says nothing about what it could hold.
AT_CHANCE: Share = 0.02
#: Share of the variance between rows of answers that do not depend on the input, and nats of a sane first answer.
SILENT: Share = 1e-6
SANE: Nats = 0.5
#: Share of its teacher's accuracy that a student keeps which is no more than small.
TRADED: Share = 0.8
#: Share of the teacher's answers that an approximation keeps which has enough dimensions.
KEPT: Share = 0.9


@rule(
    "KD402",
    name="student-capacity-floor",
    family="capacity",
    title="The student is too small to fit even the labels",
    stage=60,
    reads=(TrainGaps,),
    uses=(LearningCurve, Observations, Manifest, LayerRanks, ScaleFit, StudentPath, RateSigns, OutputFit, Gaps),
)
def student_capacity_floor(
    train: TrainGaps,
    curve: LearningCurve | None,
    seen: Observations | None,
    config: Manifest | None,
    ranks: LayerRanks | None,
    fit: ScaleFit | None,
    path: StudentPath | None,
    signs: RateSigns | None,
    output: OutputFit | None,
    held_out: Gaps | None,
) -> Finding | NotExamined:
    gaps = train.gaps
    below = gaps.teacher_accuracy - gaps.student_accuracy
    finding = Finding()
    labelled = config is None or config.distillation.alpha != 1
    # Answers over a vocabulary always lie in fewer dimensions than it has words, in sound students as well.
    vocabulary = config is not None and config.task == "tokens"
    classes = config is not None and config.task == "multiclass"
    arrived = narrow(finding, output, ranks, path, fit, held_out) if labelled and classes else None
    if below < CLOSE and not (arrived is not None and _far_below(held_out)):
        return finding.against(
            PROBE,
            "train_accuracy",
            gaps.student_accuracy,
            f"training rows: student {gaps.student_accuracy:.1%}, teacher {gaps.teacher_accuracy:.1%}",
            threshold=CLOSE,
            origin="paper",
            grade=Grade.PROOF,
        )
    width = None if vocabulary else _too_narrow(ranks)
    if below < FAR_BELOW and width is None and arrived is None and not was_cut(seen):
        return finding
    finding = arrived or finding
    if curve is None or curve.pace is None:
        return NotExamined(*RECORD["LearningCurve"])
    if width is None or not _fell_silent(path):
        finding = _level(finding, curve, curve.pace.high, below)
    if below >= CLOSE:
        finding = finding.supported_by(
            PROBE,
            "train_accuracy",
            gaps.student_accuracy,
            f"training rows: student {gaps.student_accuracy:.1%}, teacher {gaps.teacher_accuracy:.1%}",
            threshold=FAR_BELOW,
            origin="paper",
            weight=2.0 if below >= FAR_BELOW else 1.0,
        )
    finding = _against_baseline(finding, train, held_out, few_dimensions=arrived is not None)
    if width is not None and _fell_silent(path):
        finding = finding.supported_by(
            "student-path",
            "dependence",
            None if path is None else path.late("dependence"),
            f"its answers depended on the input at first and no longer do: all of so few units ({width}) fell silent",
            threshold=SILENT,
            origin="identity",
            weight=3.0,
        )
    else:
        finding = _against_chance(finding, train)
    if config is not None and config.distillation.alpha == 1:
        finding = finding.against(
            "manifest", "alpha", 1.0, "the labels were not asked for, so that nobody knows whether they would fit",
            weight=2.5, group="baseline_train_accuracy",
        )  # fmt: skip
    finding = _of_zeros(finding if vocabulary else _of_width(finding, ranks), seen)
    if curve.pace.high < LEVEL_PACE and labelled:
        finding = nothing_else(finding, fit, path)
    finding = against_set_back(against_unfitted(finding, output, path, fit), signs)
    finding = against_fallen_back(against_untaught(against_another(finding, path, fit), path), path)
    frozen = seen is not None and (seen.parameters_not_in_optimizer or seen.parameters_without_gradient)
    if frozen:
        finding = finding.against(
            "observations",
            "parameters_without_gradient",
            None,
            "parts of the student never learned, so its capacity was never used",
            weight=4.0,
        )
    shown = (
        width is not None
        or arrived is not None
        or any(e.measure == "baseline_train_accuracy" for e in finding.supporting)
    )
    return finding.saying(
        "The student cannot fit the training labels, with or without the teacher.",
        where="the student's architecture",
        severity="note" if not shown and _is_a_trade(held_out) else "warning",
    ).prescribe("a wider student", automatic=False, safety="manual")


def _far_below(held_out: Gaps | None) -> bool:
    """Whether rows that it has not by heart show what its few dimensions cannot hold."""
    return held_out is not None and held_out.gaps.teacher_accuracy - held_out.gaps.student_accuracy >= FAR_BELOW


def _is_a_trade(held_out: Gaps | None) -> bool:
    """A student that keeps that much of its teacher may be as small as somebody wanted it."""
    return held_out is not None and held_out.gaps.student_accuracy >= TRADED * held_out.gaps.teacher_accuracy


def _against_chance(finding: Finding, train: TrainGaps) -> Finding:
    gaps, counts = train.gaps, train.gaps.class_counts
    chance = float(counts.max() / counts.sum()) if counts is not None else 0.0
    if gaps.student_accuracy >= chance + AT_CHANCE:
        return finding
    return finding.against(
        PROBE,
        "train_accuracy",
        gaps.student_accuracy,
        "even on training rows the student is no better than one constant answer: it learned nothing, whatever it "
        "could hold",
        threshold=chance + AT_CHANCE,
        origin="convention",
        group="chance",
        weight=6.0,
    )


def _fell_silent(path: StudentPath | None) -> bool:
    """Answers that depended on the input at the first step, which was sane, and do not at the last ones."""
    if path is None or path.excess[0] >= SANE:
        return False
    return path.dependence[0] > SILENT and path.late("dependence") < SILENT


def _too_narrow(ranks: LayerRanks | None) -> int | None:
    """Units of the widest recorded layer, where most of the teacher's answers need more dimensions than these."""
    if ranks is None or not ranks.student:
        return None
    widest = max(rank.width for rank in ranks.student.values())
    if not 0 < widest < ranks.teacher_logits.rank or ranks.student_logits.rank > widest:
        return None
    return widest if ranks.surviving(widest) < KEPT else None


def _of_width(finding: Finding, ranks: LayerRanks | None) -> Finding:
    """Fewer dimensions in the widest recorded layer than most of the teacher's answers need."""
    widest = 0 if ranks is None else max((rank.rank or rank.width for rank in ranks.student.values()), default=0)
    if ranks is None or not 0 < widest < ranks.teacher_logits.rank or ranks.student_logits.rank > widest:
        return finding
    kept = ranks.surviving(widest)
    if kept >= KEPT:
        return finding
    return finding.supported_by(
        "layer-ranks",
        "rank",
        float(widest),
        f"no recorded layer of the student has more than {widest} dimensions; {kept:.0%} of the teacher's answers "
        "survive an approximation of that rank",
        threshold=KEPT,
        origin="convention",
        weight=2.0,
    )


def _of_zeros(finding: Finding, seen: Observations | None) -> Finding:
    """A student most of whose weights are exactly zero is that much smaller than its layers say."""
    if seen is None or not was_cut(seen):
        return finding
    return finding.supported_by(
        "observations",
        "student_zeros",
        seen.student_zeros,
        f"{seen.student_zeros:.1%} of the student's weights are exactly zero: it is that much smaller than its layers "
        "say",
        threshold=CUT,
        origin="convention",
        weight=3.0,
    )


def _level(finding: Finding, curve: LearningCurve, pace: float, below: float) -> Finding:
    if pace >= LEVEL_PACE:
        text = (
            "the training loss never fell"
            if math.isinf(pace)
            else f"the training loss may still fall at up to {pace:.1f} times its average pace"
        )
        finding = finding.against(
            "learning-curve",
            "pace",
            pace,
            f"{text}: what the student could hold is not known yet",
            threshold=LEVEL_PACE,
            group="level",
            weight=PERHAPS_LEVEL if _promises_little(curve, below) else 6.0,
        )
    if curve.quality is None:
        return finding
    rise = curve.quality.rise
    rising = curve.quality.low > 0 and rise > 2 * ALIKE
    text = f"held-out {curve.quality_key} moves by {rise:+.3f} per schedule at the end"
    add = finding.against if rising else finding.supported_by
    # A rise that would close much of the gap says that the student is not full; a slow one hardly anything.
    weight = NOT_FULL if rising and rise > SHARE_OF_GAP * below else SLOW
    return add("learning-curve", "rise", rise, text, threshold=2 * ALIKE, origin="convention", weight=weight)


def _promises_little(curve: LearningCurve, below: float) -> bool:
    """Whether the loss has slowed down, and another schedule would close hardly any of the gap for certain."""
    slowed = curve.pace is not None and curve.pace.high < SLOWED
    return slowed and curve.quality is not None and curve.quality.high < SHARE_OF_GAP * below


def _against_baseline(finding: Finding, train: TrainGaps, held_out: Gaps | None, *, few_dimensions: bool) -> Finding:
    gaps, baseline = train.gaps, train.gaps.baseline_accuracy
    if baseline is None:
        return finding
    if gaps.student_accuracy - baseline > max(ALIKE, train.noise_of_gain):
        return _of_a_weaker_twin(finding, train, baseline)
    text = f"trained on labels alone, the same student reaches {baseline:.1%} on training rows"
    # A twin that has learnt its few training rows by heart holds no more where it is no better on others.
    alike = _no_better(gaps) or (held_out is not None and _no_better(held_out.gaps))
    far = min(FAR_BELOW, FAR_OF_TEACHER * gaps.teacher_accuracy)
    if alike and gaps.teacher_accuracy - baseline >= far:
        return finding.supported_by(
            PROBE,
            "baseline_train_accuracy",
            baseline,
            text,
            threshold=gaps.teacher_accuracy - far,
            origin="paper",
            grade=Grade.INTERVENTIONAL,
            weight=4.0,
        )
    if alike and few_dimensions and _far_below(held_out):
        return finding  # rows by heart again: what few dimensions hold of the labels, they need not of the teacher
    return finding.against(
        PROBE, "baseline_train_accuracy", baseline, text, threshold=ALIKE, origin="paper", weight=6.0
    )


def _of_a_weaker_twin(finding: Finding, train: TrainGaps, baseline: float) -> Finding:
    """The same student holds more than its twin learned: what keeps that one from the labels is not its size."""
    gaps = train.gaps
    gained, left = gaps.student_accuracy - baseline, gaps.teacher_accuracy - gaps.student_accuracy
    if gained <= left:
        return finding
    return finding.against(
        PROBE,
        "baseline_train_accuracy",
        baseline,
        f"distilling brought {100 * gained:.1f} points on training rows, more than the {100 * left:.1f} that are left "
        "to the teacher: how it is trained matters more than its size",
        threshold=gaps.student_accuracy - left,
        origin="taxonomy",
        weight=TRAINING_MATTERS,
    )


def _no_better(gaps: ExampleGaps) -> bool:
    """Whether the labels-only twin closes next to nothing of the student's gap to the teacher."""
    if gaps.baseline_accuracy is None:
        return False
    gap = gaps.teacher_accuracy - gaps.student_accuracy
    return gaps.baseline_accuracy - gaps.student_accuracy <= max(ALIKE, SHARE_OF_GAP * gap)
