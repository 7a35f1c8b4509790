"""The teacher's class i is another class than label i.

What it checks
    Whether one fixed permutation of the teacher's columns turns a teacher that looks useless into a good one, on
    both halves of the data. Exchanged pairs of classes are found as well.

Why it hurts
    The student is taught the right structure under wrong names: confidently wrong, or torn between teacher and labels.

What it looks like
    A teacher that is fine on its own looks useless here; accuracy collapses as alpha grows.

Told apart from
    KD101 and a re-initialised head, which gain from the best permutation too, but to 0.44 at most and while unsure
    of everything. KD106, where no permutation helps.

Fix
    - loss = kd(student(x), teacher(x))
    + loss = kd(student(x), teacher(x)[:, columns])   # kddoctor prints the columns
    Compare id2label of both sides by string at start.

Treat automatically
    Yes: the teacher's columns are permuted and the student retrained.

Read more
    Kuhn 1955, the assignment problem: the permutation is the optimal one, not a guess.
"""

import numpy as np

from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.teacher_validity import TeacherValidity
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule

PROBE = "teacher-validity"
#: All four must hold (taxonomy section 7): a random teacher meets none, a re-initialised head at most the gain.
MATCHED, GAIN, SURE, STABLE = 0.8, 0.3, 0.5, 0.9
#: An exchanged class: the teacher is right on at most this share of its rows before, and on so many after matching.
WRONG_BEFORE, RIGHT_AFTER = 0.2, 0.7
#: Rows of a class that must have been predicted before an exchange can be believed.
ROWS = 10


@rule(
    "KD105",
    name="label-order-mismatch",
    family="pipeline",
    title="The teacher's classes are in another order than the labels",
    stage=12,
    reads=(TeacherViews,),
    masks=("KD101", "KD102", "KD106", "KD208", "KD301", "KD402", "KD502"),
)
def label_order_mismatch(teacher: TeacherViews) -> Finding:
    finding = Finding()
    for view in teacher.all:
        columns = _columns(view.validity)
        if columns is None:
            continue
        moved = int((columns != np.arange(len(columns))).sum())
        finding = _supported(finding, view, moved)
        if view.in_loop and teacher.own is not None and _columns(teacher.own.validity) is None:
            # The teacher itself is right: reordering its columns would do to it what the loop does.
            return finding.saying(
                f"The loop permutes the teacher's columns: {moved} of {len(columns)} classes answer to another label.",
                where="the training loop: what happens to the teacher's outputs before the loss",
            ).prescribe("take the teacher's columns in their own order", treatment__pairing="online")
        return finding.saying(
            f"The teacher's columns are permuted: {moved} of {len(columns)} classes answer to another label.",
            where="the teacher's class order (id2label)",
        ).prescribe(
            f"reorder the teacher's columns ({moved} of {len(columns)} move)",
            treatment__column_permutation=[int(c) for c in columns],
        )
    view = teacher.all[0]
    if view.validity.hungarian_accuracy is None:
        return finding
    return finding.against(
        PROBE,
        "hungarian_accuracy",
        view.validity.hungarian_accuracy,
        f"{view.source}: the best matching of classes moves accuracy from {view.validity.accuracy:.1%} to "
        f"{view.validity.hungarian_accuracy:.1%}",
        threshold=MATCHED,
        origin="calibrated on toy checks",
        weight=8.0,
    )


def _supported(finding: Finding, view: TeacherView, moved: int) -> Finding:
    found = view.validity
    assert found.hungarian_accuracy is not None
    return finding.supported_by(
        PROBE,
        "hungarian_accuracy",
        found.hungarian_accuracy,
        f"{view.source}: accuracy {found.accuracy:.1%}; {found.hungarian_accuracy:.1%} after moving {moved} classes",
        threshold=MATCHED,
        origin="calibrated on toy checks",
        grade=Grade.INTERVENTIONAL,
        weight=10.0,
    ).supported_by(
        PROBE,
        "permutation_stability",
        found.permutation_stability,
        "both halves of the rows ask for the same permutation",
        threshold=STABLE,
        origin="calibrated on toy checks",
    )


def _columns(found: TeacherValidity) -> np.ndarray | None:
    """For each label the teacher's column that answers to it, or None where the order is right (or no order is)."""
    permutation, confusion = found.hungarian_permutation, found.confusion
    if permutation is None or confusion is None or found.hungarian_accuracy is None:
        return None
    whole = (
        found.hungarian_accuracy >= MATCHED
        and found.hungarian_accuracy - found.accuracy >= GAIN
        and found.entropy_ratio_median < SURE
        and (found.permutation_stability or 0) >= STABLE
    )
    if not whole and not _exchanged(permutation, confusion):
        return None
    return np.argsort(permutation)


def _exchanged(permutation: np.ndarray, confusion: np.ndarray) -> bool:
    """Whether every class that the matching moves is wrong before and right after it: a partial exchange."""
    moved = np.flatnonzero(permutation != np.arange(len(permutation)))
    if len(moved) < 2:
        return False
    rows = confusion[moved].sum(axis=1)
    before = confusion[moved, moved] / np.maximum(rows, 1)
    after = confusion[moved, permutation[moved]] / np.maximum(rows, 1)
    return bool((rows >= ROWS).all() and (before <= WRONG_BEFORE).all() and (after >= RIGHT_AFTER).all())
