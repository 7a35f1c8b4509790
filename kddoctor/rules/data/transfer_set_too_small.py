"""There are too few training rows to tell what function the teacher is.

What it checks
    Whether the student fits its training rows at least as well as the teacher does, and falls behind on held-out ones
    far more than the teacher, so that a good part of the teacher's skill is lost on the way; whether training rows are
    copies of each other, or lie as close together as copies that were altered a little; whether they are so few that
    all epochs together are some dozens of updates, of usual batches; and whether distilling helped all the same, which
    excludes a teacher that was never used.

Why it hurts
    Many functions agree with the teacher on a few rows. The student learns one of them.

What it looks like
    Agreement near one in training and far from it elsewhere; more epochs make it worse.

Told apart from
    KD402, where the training rows are not fitted either. KD502, where the epochs are few, or each has many updates.
    KD501, where a batch is so large that it holds them all. KD208, where the labels are fitted and the teacher is not.
    KD603, where the rows come from elsewhere. KD606, where classes are missing. A small set that is all there is, with
    ten rows and more of each class, and that still yields a fair student, which keeps half of its teacher's skill: more
    rows would help it as they help any.

Fix
    Let the teacher label more rows; they need no labels of their own. Mix or augment the ones that there are.

Treat automatically
    No: more rows have to be found. Augmentation is worth a try.

Read more
    Stanton et al. 2021, arXiv:2106.05945: fidelity depends on the transfer set. Beyer et al. 2022, arXiv:2106.05237.
"""

import math

from kddoctor.probes.data_measurements import SplitDifference, SplitOverlap
from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.rules.data.few_rows import SMALL_SET, FewRows, few_rows
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Share
from kddoctor.run.manifest import Manifest

PROBE = "example-gaps"
#: Points of agreement lost between the splits (taxonomy), and of accuracy beyond what the teacher loses.
AGREEMENT: Share = 0.1
FURTHER: Share = 0.15
#: Share of the teacher's advantage over chance that students of small sets that are sound keep: of an area under the
#: ROC curve, calibrated on movielens; and of an accuracy, where it hangs on how much a row says: students of 1,500
#: posts in 20 groups keep from 0.66, of 500 posts 0.48, of 150 posts 0.22 (newsgroups).
KEPT: Share = 0.78
KEPT_OF_CLASSES: Share = 0.45
#: The same of those that have enough rows, and rows of each class that are fewer than anyone calls enough.
WELL: Share = 0.9
HANDFUL: Count = 10
#: Area under the ROC curve by which training rows are told from held-out ones when they come from elsewhere.
ALIKE: Share = 0.6
#: Of what the student misses on held-out rows alone, the share that it may miss on training rows and be called fitted.
SMALL_PART: Share = 0.25
#: Share of the training rows by which a student is more often right than it agrees with its teacher, from which it
#: learned the labels by heart and not the teacher, where these were given most of the weight; convention.
LABELS_INSTEAD: Share = 0.1
LITTLE_WEIGHT: Share = 0.1
#: Share of copies among training rows from which they are fewer than they seem.
REPEATED: Share = 0.5


@rule(
    "KD602",
    name="transfer-set-too-small",
    family="data",
    title="There are too few training rows to tell what function the teacher is",
    stage=58,
    reads=(TrainGaps, Gaps),
    uses=(SplitOverlap, SplitDifference, LossForensics, ThresholdShifts, Manifest, RateSigns),
    masks=("KD402", "KD502", "KD604"),
)
def transfer_set_too_small(
    train: TrainGaps,
    held_out: Gaps,
    overlap: SplitOverlap | None,
    difference: SplitDifference | None,
    loss: LossForensics | None,
    scores: ThresholdShifts | None,
    config: Manifest | None = None,
    signs: RateSigns | None = None,
) -> Finding:
    before, after = train.gaps, held_out.gaps
    finding = Finding().saying(
        "There are too few training rows to tell what function the teacher is.", where="the size of the transfer set"
    )
    finding = finding.prescribe("let the teacher label more rows", automatic=False, safety="manual")
    rows, copied = _different(before.n, overlap)
    classes = 1 if after.class_counts is None else int((after.class_counts > 0).sum())
    # A handful of rows of each class cannot show what a class is, however much of it the student guesses.
    few = copied is not None or rows < HANDFUL * classes
    wanted = WELL if few else KEPT_OF_CLASSES if scores is None else KEPT
    enough = FURTHER if copied is None else AGREEMENT
    lost = before.agreement - after.agreement
    noise = math.hypot(standard_error(before.agreement, before.n), standard_error(after.agreement, after.n))
    further = (before.student_accuracy - after.student_accuracy) - (before.teacher_accuracy - after.teacher_accuracy)
    # What is missing in training is noise, or a small part of what is missing on other rows.
    allowed = max(noise_of_difference(standard_error(before.teacher_accuracy, before.n)), SMALL_PART * further)
    fitted = before.student_accuracy >= before.teacher_accuracy - allowed
    kept = _kept(held_out, scores)
    text = (
        f"on {rows} different rows: agreement {before.agreement:.1%} in training, {after.agreement:.1%} held out; the "
        f"student loses {100 * further:.0f} points more between them than the teacher, and keeps {kept:.0%} of "
        "its skill"
    )
    if fitted and lost > max(AGREEMENT, 2 * noise) and further > enough and kept < wanted:
        finding = finding.supported_by(
            PROBE, "agreement_lost", lost, text, threshold=AGREEMENT, origin="taxonomy", weight=5.0
        )
        if copied is not None:
            finding = _copies(finding, copied, rows, before.n)
        if config is not None and 0 < (config.distillation.alpha or 0.0) <= LITTLE_WEIGHT:
            finding = _of_the_labels(finding, train)
        finding = _of_the_twin(finding, held_out)
    elif (seen := few_rows(signs, config)) is not None and kept < WELL:
        finding = _of_few_rows(finding, seen, kept)
    elif not fitted or lost + 2 * noise < AGREEMENT / 2 or kept > wanted:
        finding = finding.against(
            PROBE, "agreement_lost", lost, text, threshold=AGREEMENT, origin="taxonomy", weight=4.0
        )
    if loss is not None and (loss.kd_always_zero or loss.declared_differs):
        finding = finding.against(
            "loss-forensics",
            "declared_form_error",
            None,
            "the declared loss is not the recorded one: what was asked for comes before how many rows there were",
            weight=4.0,
        )
    inputs = None if difference is None else difference.inputs
    # Copies crowd in few places, by which they are told from others wherever they come from.
    if copied is None and inputs is not None and inputs.auc - 2 * inputs.standard_error > ALIKE:
        finding = finding.against(
            "two-samples",
            "auc",
            inputs.auc,
            f"the training rows are told from held-out ones with an area of {inputs.auc:.2f}: they come from elsewhere",
            threshold=ALIKE,
            weight=3.0,
        )
    return finding


def _of_few_rows(finding: Finding, seen: FewRows, kept: float) -> Finding:
    """Rows so few that their student never learned even them: more epochs would teach it these, and nothing else."""
    return finding.supported_by(
        "rate-signs",
        "rows",
        float(seen.rows),
        f"an epoch has {seen.rows} rows at the most, so that {seen.epochs:.0f} epochs are {seen.updates} updates; the "
        f"student keeps {kept:.0%} of its teacher's skill",
        threshold=float(SMALL_SET),
        origin="convention",
        weight=5.0,
    )


def _kept(held_out: Gaps, scores: ThresholdShifts | None) -> float:
    """Share of the teacher's advantage over chance; where every logit is a yes or no, in area under the ROC curve."""
    if scores is not None:
        return (scores.student_auc - 0.5) / max(1e-9, scores.teacher_auc - 0.5)
    gaps = held_out.gaps
    chance = 0.0 if gaps.class_counts is None else float(((gaps.class_counts / gaps.n) ** 2).sum())
    return (gaps.student_accuracy - chance) / max(1e-9, gaps.teacher_accuracy - chance)


def _different(rows: int, overlap: SplitOverlap | None) -> tuple[int, float | None]:
    """Different training rows, and the share of copies where they are most of the rows, else None."""
    if overlap is None:
        return rows, None
    equal, near = overlap.equal, overlap.copies
    rows = rows if equal is None else equal.distinct
    if near is not None and near.different < 1:
        return round(near.different * rows), near.copied
    return rows, equal.repeated if equal is not None and equal.repeated >= REPEATED else None


def _copies(finding: Finding, copied: float, rows: int, all_rows: int) -> Finding:
    return finding.supported_by(
        "row-overlap",
        "repeated",
        copied,
        f"{copied:.0%} of {all_rows} training rows are copies of each other, altered or not: {rows} are different",
        threshold=REPEATED,
        origin="convention",
        weight=4.0,
    )


def _of_the_labels(finding: Finding, train: TrainGaps) -> Finding:
    """What is known by heart has to be the teacher's answers, for these rows to be too few to show what it is."""
    instead = train.gaps.student_accuracy - train.gaps.agreement
    if instead <= LABELS_INSTEAD:
        return finding
    return finding.against(
        PROBE,
        "labels_instead",
        instead,
        f"on training rows the student gives {train.gaps.student_accuracy:.0%} of the labels and "
        f"{train.gaps.agreement:.0%} of the teacher's answers: it knows the labels by heart, and not the teacher",
        threshold=LABELS_INSTEAD,
        origin="convention",
        weight=4.0,
    )


def _of_the_twin(finding: Finding, held_out: Gaps) -> Finding:
    gaps, twin = held_out.gaps, held_out.baseline_accuracy
    if twin is None:
        return finding
    gained = gaps.student_accuracy - twin
    text = (
        f"the labels alone made a student that is right on {twin:.1%}, the teacher one of {gaps.student_accuracy:.1%}"
    )
    if gained > noise_of_difference(standard_error(twin, gaps.n)):
        return finding.supported_by(PROBE, "gained", gained, f"distilling works: {text}", weight=1.0)
    # What is too little to show a function is too little for the labels, too.
    ahead = gained < -noise_of_difference(standard_error(twin, gaps.n))
    return finding.against(PROBE, "gained", gained, f"distilling did not help: {text}", weight=3.0 if ahead else 0.5)
