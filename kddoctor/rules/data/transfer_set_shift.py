"""The transfer set comes from elsewhere than the rows on which the student is used.

What it checks
    Whether a classifier can tell training rows from held-out ones by their inputs, or by what the teacher makes of
    them; whether the teacher is less often right, and less sure, on training rows than on held-out ones, which is the
    reverse of what having learnt them does; whether rows of which it is unsure are missing among the training rows; and
    whether the student follows its teacher less well on held-out rows.

Why it hurts
    The student learns what the teacher does where nobody asks it, and guesses where it is asked.

What it looks like
    Fine in the logs of the distillation, poor on the target. The teacher hesitates on its transfer set.

Told apart from
    KD602, where the rows are few and come from the right place: a classifier cannot tell them apart, or does so only
    because they are copies of each other. KD605, where the
    teacher is as sure as ever and the labels contradict it. KD606, where only the shares of the classes differ. KD702,
    where the held-out rows are the ones that the teacher fails on. Augmentation, which makes training rows look
    different and does no harm: then this is a note.

Fix
    Distil on rows from where the student will be used. They need no labels: the teacher labels them.

Treat automatically
    No: rows from the right source have to be found.

Read more
    Lopez-Paz and Oquab 2017, arXiv:1610.06545: classifier two-sample tests. Beyer et al. 2022, arXiv:2106.05237.
"""

from kddoctor.probes.data_measurements import (
    LEAST_SURE,
    ClassShares,
    LabelDoubts,
    SplitDifference,
    SplitOverlap,
    SplitSureness,
)
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Share

PROBE = "two-samples"
#: Area under the ROC curve from which two sets of rows come from different places (taxonomy), and one that random
#: halves of one set stay below.
DIFFERENT: Share = 0.7
ALIKE: Share = 0.6
#: Standard errors below an area that still have to be above ``DIFFERENT``.
SURE: Deviations = 2.0
#: Nats for an area that may be below ``DIFFERENT`` as well: rows of other users look a little different in sound runs.
PERHAPS = 2.0
#: Points by which the teacher is better on held-out rows than on training ones, when the latter are not its own.
REVERSED: Share = 0.1
#: Share of the held-out rows of which the teacher is less sure than of nearly all training rows. Of rows that were not
#: chosen by that it was at most 0.12.
ABOVE: Share = 0.4
#: Share of the teacher's advantage over chance that a student in this position may lose, and points of agreement that
#: it may lose between the splits, before this counts as harm.
KEPT: Share = 0.9
AGREEMENT: Share = 0.1


@rule(
    "KD603",
    name="transfer-set-shift",
    family="data",
    title="The transfer set comes from elsewhere than the rows on which the student is used",
    stage=57,
    reads=(SplitDifference, TrainGaps, Gaps),
    uses=(LabelDoubts, ClassShares, SplitOverlap, SplitSureness),
    masks=("KD402", "KD502", "KD602", "KD604"),
)
def transfer_set_shift(
    difference: SplitDifference,
    train: TrainGaps,
    held_out: Gaps,
    doubts: LabelDoubts | None,
    shares: ClassShares | None,
    overlap: SplitOverlap | None,
    sureness: SplitSureness | None,
) -> Finding:
    # The test takes rows for draws of their own, which copies are not.
    copies = overlap is not None and overlap.copies is not None and overlap.copies.different < 1
    finding = Finding() if copies else _of_rows(Finding(), difference)
    finding = _of_the_teacher(finding, train, held_out, doubts)
    finding = _of_sureness(finding, train, held_out, sureness)
    before, after = train.gaps, held_out.gaps
    lost = before.agreement - after.agreement
    chance = 0.5 if after.class_counts is None else float(((after.class_counts / after.n) ** 2).sum())
    advantage = after.teacher_accuracy - chance
    kept = 1.0 if advantage <= 0 else (after.student_accuracy - chance) / advantage
    harm = kept < KEPT or lost > AGREEMENT
    if finding.supporting and harm:
        finding = finding.supported_by(
            "example-gaps",
            "kept",
            kept,
            f"the student agrees with its teacher on {before.agreement:.1%} of the training rows and on "
            f"{after.agreement:.1%} of the held-out ones, where it keeps {kept:.0%} of the teacher's advantage",
            threshold=KEPT,
            origin="convention",
            weight=1.0,
        )
    if advantage <= 0 or before.teacher_accuracy - after.teacher_accuracy > REVERSED:
        finding = finding.against(
            "example-gaps",
            "teacher_accuracy",
            after.teacher_accuracy,
            f"the teacher is right on {before.teacher_accuracy:.1%} of the training rows and on "
            f"{after.teacher_accuracy:.1%} of the held-out ones: these are the rows that it does not know",
            threshold=REVERSED,
            weight=5.0,
        )
    if shares is not None:
        finding = _of_classes(finding, shares)
    return finding.saying(
        "The transfer set comes from elsewhere than the rows on which the student is used."
        if harm
        else "Training rows look different from held-out ones, which does the student no harm.",
        where="the choice of the transfer set",
        severity="error" if harm else "note",
    ).prescribe("distil on rows from where the student is used", automatic=False, safety="manual")


def _of_rows(finding: Finding, difference: SplitDifference) -> Finding:
    # Activations and logits of a teacher tell its own training rows from others without any shift; inputs do not.
    seen = difference.inputs
    if seen is None:
        return finding
    text = (
        f"by their {seen.source}, training rows are told from held-out ones with an area under the ROC curve of "
        f"{seen.auc:.2f} ± {seen.standard_error:.2f}"
    )
    if seen.auc >= DIFFERENT:
        certain = seen.auc - SURE * seen.standard_error >= DIFFERENT
        return finding.supported_by(
            PROBE, "auc", seen.auc, text, threshold=DIFFERENT, origin="taxonomy", weight=5.0 if certain else PERHAPS
        )
    if seen.auc + SURE * seen.standard_error < DIFFERENT and max(found.auc for found in difference.all) < DIFFERENT:
        return finding.against(
            PROBE,
            "auc",
            seen.auc,
            text,
            threshold=DIFFERENT,
            origin="taxonomy",
            weight=3.0 if seen.auc < ALIKE else 1.0,
        )
    return finding


def _of_the_teacher(finding: Finding, train: TrainGaps, held_out: Gaps, doubts: LabelDoubts | None) -> Finding:
    before, after = train.gaps, held_out.gaps
    better = after.teacher_accuracy - before.teacher_accuracy
    error = max(standard_error(part.teacher_accuracy, part.n) for part in (before, after))
    if better <= max(REVERSED, 2 * noise_of_difference(error)):
        return finding
    text = (
        f"the teacher is right on {before.teacher_accuracy:.1%} of the training rows and on "
        f"{after.teacher_accuracy:.1%} "
        "of the held-out ones"
    )
    hesitates = None
    if doubts is not None and doubts.train is not None:
        hesitates = doubts.train.sure_stated - doubts.held_out.sure_stated
        text += f", and concedes {100 * hesitates:+.1f} points more errors where it is surest"
    if hesitates is not None and hesitates <= 0:
        # As sure as ever, and contradicted: the labels of the training rows, not the rows.
        return finding.against("label-doubt", "sure_stated", hesitates, text, weight=3.0)
    return finding.supported_by(
        "example-gaps", "teacher_accuracy", better, text, threshold=REVERSED, origin="convention", weight=7.0
    )


def _of_sureness(finding: Finding, train: TrainGaps, held_out: Gaps, sureness: SplitSureness | None) -> Finding:
    """Rows that were chosen by how sure the teacher is of them: none of them lies where it hesitates."""
    if sureness is None or sureness.below < ABOVE:
        return finding
    knows = train.gaps.teacher_accuracy - held_out.gaps.teacher_accuracy
    if knows > REVERSED:
        return finding  # it knows its training rows by heart, which makes it sure of all of them
    return finding.supported_by(
        "split-sureness",
        "below",
        sureness.below,
        f"the teacher's first choice is ahead by {sureness.floor:.2g} logits or more on {1 - LEAST_SURE:.0%} of the "
        f"training rows, and by less on {sureness.below:.0%} of the held-out ones: the rows that it is unsure of are "
        "missing",
        threshold=ABOVE,
        origin="calibrated on digits",
        weight=6.0,
    )


def _of_classes(finding: Finding, shares: ClassShares) -> Finding:
    """Other shares of the same classes let a classifier tell rows apart as well."""
    parts = [counts / max(1, counts.sum()) for counts in (shares.train, shares.held_out)]
    moved = float(abs(parts[0] - parts[1]).sum() / 2)
    if moved <= REVERSED * 2:
        return finding
    return finding.against(
        "class-shares",
        "moved",
        moved,
        f"{moved:.0%} of the rows would have to change their class for both splits to have the same shares",
        threshold=REVERSED * 2,
        origin="convention",
        weight=2.0,
    )
