"""The teacher scored another view of the example than the one that the student saw.

What it checks
    Whether both models saw the same tensors in the loop, and which of the two got other ones than the data hold;
    whether the targets of one row differ from epoch to epoch although the student always sees the same; and
    where the teacher's outputs were cached, before the loop or from the first epoch on, or its inputs are known to be
    others, whether they are what the teacher says of the inputs that the student saw.

Why it hurts
    The student is told about a picture that it does not see. Early gains turn into over-fitting, and longer schedules
    make it worse.

What it looks like
    Random augmentation, and a teacher that was run before it, after it once more, on a crop of its own, or in the first
    epoch alone.

Told apart from
    KD106, where the outputs are of other examples. KD103, where the same tensor gives other outputs. KD108, where the
    student gets the data as they are and the teacher something else, which is the same in each epoch, or which makes
    it surer and worse, as no view of the data does. KD811, where the teacher is told more. Light noise for the student
    alone, which changes next to nothing of what the teacher would say.

Fix
    - t = cached_logits[index]; s = student(augment(x))
    + x = augment(x); t = teacher(x); s = student(x)
    A cache has to hold the seed of the augmentation with each row.

Treat automatically
    Yes: the student is retrained with the teacher run on the student's own batches.

Read more
    Beyer et al. 2022, arXiv:2106.05237, section 3: consistent teaching.
"""

from kddoctor.probes.passes_again import PassesAgain
from kddoctor.probes.proportions import SURE
from kddoctor.probes.row_pairing import RowPairing
from kddoctor.probes.targets_again import TargetsAgain
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.teacher_in_train_mode import REPEATABLE
from kddoctor.rules.pipeline.teacher_inputs import (
    MOVED,
    NEARLY_THE_SAME,
    as_good_as_own,
    badly_prepared,
    changed_in_loop,
    drawn_anew,
    inputs_alike,
    not_random,
)
from kddoctor.rules.pipeline.teacher_rows_misaligned import STRAYS
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Share
from kddoctor.run.observations import Observations

PROBE = "targets-in-loop"
#: Correlation of outputs for two views of one example; those of other examples stay below.
SAME_EXAMPLE: Correlation = 0.3
#: From here on the targets are a transformation of the teacher's outputs, and not those of another view.
SAME_VIEW: Correlation = 0.999
#: Share of rows that random views change at the least; a few outputs that are out of place change fewer.
MANY: Share = 0.1
#: Gain in correlation by moving columns that no change of view brings.
PERMUTED: Correlation = 0.2
#: What random views add to the labelled class on average, in standard deviations, beside the noise of so many rows;
#: outputs of other examples take away.
OTHER_EXAMPLES = -0.05


@rule(
    "KD107",
    name="teacher-view-mismatch",
    family="pipeline",
    title="The teacher scored another view than the student saw",
    stage=17,
    # A row of a ranking is a user and an item: there is no other view of it.
    only=("multiclass", "binary", "multilabel", "tokens"),
    reads=(TargetsInLoop, TeacherPasses),
    uses=(RowPairing, Observations, TargetsAgain, PassesAgain),
    masks=("KD208", "KD302", "KD401", "KD402", "KD501", "KD502", "KD504"),
)
def teacher_view_mismatch(
    targets: TargetsInLoop,
    passes: TeacherPasses,
    pairing: RowPairing | None,
    seen: Observations | None,
    again: TargetsAgain | None = None,
    both: PassesAgain | None = None,
) -> Finding:
    finding, repeats = Finding(), passes.relative_difference <= REPEATABLE
    if passes.same_inputs == 1 and not repeats and passes.first_difference <= REPEATABLE:
        finding = _by_memory(finding, targets, passes, pairing, seen)
    elif passes.same_inputs == 1:
        finding = finding.against(
            "observations",
            "same_inputs",
            1.0,
            "teacher and student saw the same tensors at each recorded step",
            threshold=1.0,
            grade=Grade.PROOF,
        )
    elif passes.same_inputs is not None and repeats:
        finding = _by_inputs(finding, passes.same_inputs, seen, again)
    elif not _prepared_otherwise(passes, both) and _gives_one_answer(passes, both):
        finding = _by_outputs(finding, targets, passes, pairing)
    return finding.saying(
        "The teacher's outputs are of another view of the example than the one that the student saw.",
        where="the training loop: augmentation, and where the teacher is run",
        severity="warning",
    ).prescribe("run the teacher on the very tensor that the student sees", treatment__pairing="online")


def _gives_one_answer(passes: TeacherPasses, both: PassesAgain | None) -> bool:
    """Where the teacher is known to have had tensors of its own: whether its mode is not what made the passes differ.

    That it may be where nobody noted anything is what KD103 is weighed by.
    """
    stays = both is not None and both.targets_stay
    return passes.same_inputs is None or passes.teacher_training is False or stays


def _prepared_otherwise(passes: TeacherPasses, both: PassesAgain | None) -> bool:
    """Whether no view was drawn of rows that the teacher answers otherwise in a second pass (KD108, KD113)."""
    if both is not None and both.targets_stay and both.own_stays:
        return True
    return badly_prepared(both, passes.same_inputs, passes.teacher_training)


def _by_inputs(finding: Finding, same: float, seen: Observations | None, again: TargetsAgain | None) -> Finding:
    if drawn_anew(again, seen):
        text = "a row's target is another one each time, of a teacher that says the same again: it gets random views"
    elif inputs_alike(seen):
        if not_random(seen) and changed_in_loop(seen, "student") is False:
            # The student gets the rows as they are, so what the teacher gets is no random view of its own (KD108).
            text = "teacher and student saw different tensors of like statistics"
            return finding.supported_by("observations", "same_inputs", same, text, threshold=1.0, weight=5.0)
        text = "teacher and student saw different tensors that are prepared alike: each a random view of its own"
    elif changed_in_loop(seen, "student") and changed_in_loop(seen, "teacher") is False:
        text = "the student's tensors differ from the training data, as augmented ones do, and the teacher's do not"
    else:
        # Prepared in another way, which is what teachers of another kind need (KD108 asks whether it suits them).
        return finding
    return finding.supported_by(
        "observations",
        "same_inputs",
        same,
        text,
        threshold=1.0,
        grade=Grade.INTERVENTIONAL,
        weight=8.0,
    )


def _by_memory(
    finding: Finding,
    targets: TargetsInLoop,
    passes: TeacherPasses,
    pairing: RowPairing | None,
    seen: Observations | None,
) -> Finding:
    """Outputs kept from the first time that a row came by: right at first, and of another view ever after."""
    # A teacher that goes to training mode later, or learns, is the same at first as well (KD103, KD104).
    moved = seen is not None and (seen.teacher_drift or 0.0) > MOVED
    if moved or passes.teacher_training is not False:
        return finding
    return _by_outputs(finding, targets, passes, pairing)


def _by_outputs(finding: Finding, targets: TargetsInLoop, passes: TeacherPasses, pairing: RowPairing | None) -> Finding:
    if passes.relative_difference <= REPEATABLE:
        return finding.against(
            PROBE,
            "relative_difference",
            passes.relative_difference,
            "the targets are what the teacher says of the inputs that the student saw",
            threshold=REPEATABLE,
            grade=Grade.PROOF,
        )
    if as_good_as_own(targets):
        return finding.against(
            PROBE,
            "changed_correlation",
            targets.changed_correlation,
            "the targets are nearly what the teacher says of the inputs that the student saw (correlation "
            f"{targets.changed_correlation:.3f}): another view, if it is one, that costs next to nothing",
            threshold=NEARLY_THE_SAME,
            origin="convention",
            weight=4.0,
        )
    strays = pairing is not None and pairing.elsewhere > STRAYS
    permuted = targets.columns_matched - targets.columns_in_place > PERMUTED
    # In the rows that differ: where most are in place, those of other examples hardly lower the whole.
    same_example = targets.changed >= MANY and targets.changed_correlation >= SAME_EXAMPLE
    resembling = same_example and targets.correlation < SAME_VIEW
    if passes.teacher_training or strays or permuted or not resembling or _takes_away(targets):
        return finding
    return finding.supported_by(
        PROBE,
        "changed_correlation",
        targets.changed_correlation,
        f"{targets.changed:.0%} of the targets differ from what the teacher says of the student's inputs, and resemble "
        f"it (correlation {targets.changed_correlation:.2f}): they were made from another view",
        threshold=SAME_EXAMPLE,
        origin="calibrated on digits",
        grade=Grade.INTERVENTIONAL,
        weight=8.0,
    )


def _takes_away(targets: TargetsInLoop) -> bool:
    return targets.towards_label + SURE * targets.towards_label_error < OTHER_EXAMPLES
