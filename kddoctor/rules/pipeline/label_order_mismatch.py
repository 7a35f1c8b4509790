"""The teacher's class i is another class than label i.

What it checks
    Whether one fixed permutation of the teacher's columns turns a teacher that looks useless into a good one, or one
    that is as good as outside the loop or as its own confidence says, on both halves of the data. Classes that were
    exchanged among themselves are found as well. With one logit a row, whether the teacher ranks the wrong way round.

Why it hurts
    The student is taught the right structure under wrong names: confidently wrong, or torn between teacher and labels.

What it looks like
    A teacher that is fine on its own looks useless here; accuracy collapses as alpha grows.

Told apart from
    KD101 and a re-initialised head, which gain from the best permutation too, but to 0.44 at most and while unsure
    of everything. KD106, where no permutation helps. Training rows that were labelled otherwise, while the teacher
    is in order on held-out ones.

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
from kddoctor.probes.proportions import standard_error
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.probes.teacher_validity import TeacherValidity
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.teacher_weights_not_loaded import blank
from kddoctor.rules.recommenders.overwritten import against_overwritten
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Deviations, Factor, Share
from kddoctor.run.manifest import Manifest

PROBE = "teacher-validity"
#: All four must hold (taxonomy section 7): a random teacher meets none, a re-initialised head at most the gain. Inside
#: the loop, matching has to restore most of what the teacher is right on by itself, and more than chance matches.
OF_OWN: Share = 0.9
RANDOM: Share = 0.44
MATCHED: Share = 0.8
GAIN: Share = 0.3
SURE: Share = 0.5
STABLE: Share = 0.9
#: The same of a teacher that is right less often: a matching that was found on other rows makes it as right as it is
#: sure of itself, to this share at least and at most.
AS_SURE_AS_RIGHT = (0.7, 1.2)
#: A new head upon trained layers answers to other classes just as consistently, and is not sure of it: its entropy is
#: 0.85 of the largest and more (taxonomy), unless the task is such that nobody could be surer. Then the teacher has to
#: be right so many times as often as chance.
UNSURE: Share = 0.8
MANY: Factor = 10.0
#: Times as right as before that such a matching makes it: half of what it knows, or more, stood under other names.
TIMES: Factor = 2.0
#: Standard errors above chance, for what a matching of other rows restores.
BEYOND_CHANCE: Deviations = 5.0
#: Share that the best matching gains of a teacher whose classes are in order.
SMALL_GAIN: Share = 0.05
#: An exchanged class: the teacher is right on at most this share of its rows before, and on so many after matching.
WRONG_BEFORE: Share = 0.2
RIGHT_AFTER: Share = 0.7
#: The same as a share of what is usual for the teacher's other classes.
OF_USUAL: Share = 0.75
#: Share of the rows of all other classes that a teacher is right on, below which it has other troubles: one half.
IN_ORDER: Share = 0.5
#: Area under the curve below one half that is no accident, and in standard errors of a ranking without skill.
TURNED: Share = 0.05
TURNED_ERRORS: Deviations = 5.0
#: Area below one half of a teacher that may have been left as it was made: 30 such strayed by 0.07 at most on
#: movielens, by 0.12 on clicks.
OF_FIRST_WEIGHTS: Share = 0.15
#: Rows of a class that must have been predicted before an exchange can be believed.
ROWS: Count = 10


@rule(
    "KD105",
    name="label-order-mismatch",
    family="pipeline",
    title="The teacher's classes are in another order than the labels",
    stage=12,
    reads=(TeacherViews,),
    uses=(TargetsAgainstOwn, Manifest),
    masks=(
        "KD101",
        "KD102",
        "KD106",
        "KD208",
        "KD301",
        "KD304",
        "KD307",
        "KD402",
        "KD502",
        "KD605",
        "KD705",
        "KD901",
    ),
)
def label_order_mismatch(
    teacher: TeacherViews, targets: TargetsAgainstOwn | None = None, config: Manifest | None = None
) -> Finding:
    by_hand = against_overwritten(targets, config)
    if by_hand is not None:
        return by_hand
    finding = Finding()
    for view in teacher.all:
        if view.auc is not None and _turned(view) and (view.in_loop or not _right_elsewhere(view, teacher)):
            return finding if _too_good(view, teacher) else _turned_round(finding, view, teacher)
        if _right_way_round(view):
            continue
        own = teacher.own if view.in_loop else None
        columns = _columns(view.validity, None if own is None else own.validity)
        if columns is None or (view is teacher.own_train and _in_order_elsewhere(teacher)):
            continue
        moved = int((columns != np.arange(len(columns))).sum())
        finding = _supported(finding, view, moved)
        if view.in_loop and teacher.own is not None and _columns(teacher.own.validity, None) is None:
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
    if view.auc is not None:
        return finding.against(
            PROBE,
            "auc",
            view.auc,
            f"{view.source}: the teacher ranks a yes above a no in {view.auc:.1%} of the pairs",
            threshold=0.5,
            weight=8.0,
        )
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


def _turned(view: TeacherView) -> bool:
    """Whether the teacher ranks the wrong way round, by far more than a useless teacher's ranking strays.

    First weights rank by whatever they make of the inputs, one way or the other, and are as unsure of every row.
    """
    assert view.auc is not None
    least = OF_FIRST_WEIGHTS if blank(view.validity) else TURNED
    return view.auc < 0.5 - max(least, TURNED_ERRORS * _error_of_chance(view.validity))


def _right_way_round(view: TeacherView) -> bool:
    """Whether a yes ranks above a no: what the exchange of two answers would restore then is a threshold (KD705)."""
    return view.auc is not None and view.auc > 0.5 + max(TURNED, TURNED_ERRORS * _error_of_chance(view.validity))


def _right_elsewhere(view: TeacherView, teacher: TeacherViews) -> bool:
    """Whether the same teacher ranks the right way round on the held-out rows: then the labels of these are turned."""
    own = teacher.own
    return own is not None and own is not view and _right_way_round(own)


def _in_order_elsewhere(teacher: TeacherViews) -> bool:
    """Whether its columns are in order on held-out rows: then it is not these that differ on others."""
    return teacher.own is not None and teacher.own.validity.n >= ROWS and _in_order(teacher.own.validity)


def _too_good(view: TeacherView, teacher: TeacherViews) -> bool:
    """Whether with its sign turned, the ranking in the loop would be better than the teacher ever was elsewhere.

    Then something in the loop read the labels.
    """
    assert view.auc is not None
    known = [other.auc for other in (teacher.own, teacher.own_train) if other is not None and other.auc is not None]
    elsewhere = [max(area, 1 - area) for area in known]
    if not view.in_loop or not elsewhere:
        return False
    return 1 - view.auc > max(elsewhere) + max(TURNED, TURNED_ERRORS * _error_of_chance(view.validity))


def _error_of_chance(found: TeacherValidity) -> float:
    """Standard error of the area under the curve of a ranking without any skill (Mann and Whitney 1947)."""
    yes = float(found.label_prior[-1]) * found.n
    no = found.n - yes
    return float(np.sqrt((found.n + 1) / (12 * max(yes, 1) * max(no, 1))))


def _turned_round(finding: Finding, view: TeacherView, teacher: TeacherViews) -> Finding:
    assert view.auc is not None
    finding = finding.supported_by(
        PROBE,
        "auc",
        view.auc,
        f"{view.source}: the teacher ranks a yes above a no in {view.auc:.1%} of the pairs; with its sign turned, in "
        f"{1 - view.auc:.1%}",
        threshold=0.5 - TURNED,
        origin="convention",
        grade=Grade.INTERVENTIONAL,
        weight=10.0,
    )
    own = teacher.own is not None and teacher.own.auc is not None and _turned(teacher.own)
    finding = finding.saying(
        "The teacher's yes is the labels' no: its sign is turned.",
        where="the teacher's class order (id2label)" if own else "the training loop: sign of the teacher's outputs",
    )
    if own:
        return finding.prescribe("turn the sign of the teacher's logit", treatment__column_permutation=[1, 0])
    return finding.prescribe("take the teacher's outputs as they are", treatment__pairing="online")


def _supported(finding: Finding, view: TeacherView, moved: int) -> Finding:
    found = view.validity
    assert found.hungarian_accuracy is not None
    finding = finding.supported_by(
        PROBE,
        "hungarian_accuracy",
        found.hungarian_accuracy,
        f"{view.source}: accuracy {found.accuracy:.1%}; {found.hungarian_accuracy:.1%} after moving {moved} classes",
        threshold=MATCHED,
        origin="calibrated on toy checks",
        grade=Grade.INTERVENTIONAL,
        weight=10.0,
    )
    if (
        (found.permutation_stability or 0) < STABLE
        and found.accuracy_elsewhere is not None
        and _as_right_as_sure(found)
    ):
        return finding.supported_by(
            PROBE,
            "accuracy_elsewhere",
            found.accuracy_elsewhere,
            f"the permutation that one half of the rows asks for makes the teacher right on "
            f"{found.accuracy_elsewhere:.0%} of the other half, of which it is {found.top1_mean:.0%} sure on average",
            threshold=AS_SURE_AS_RIGHT[0] * found.top1_mean,
            origin="identity of a calibrated teacher",
        )
    return finding.supported_by(
        PROBE,
        "permutation_stability",
        found.permutation_stability,
        "both halves of the rows ask for the same permutation",
        threshold=STABLE,
        origin="calibrated on toy checks",
    )


def _columns(found: TeacherValidity, own: TeacherValidity | None) -> np.ndarray | None:
    """For each label the teacher's column that answers to it, or None where the order is right (or no order is).

    own: the teacher outside the loop, whose own rightness is all that a matching can restore.
    """
    permutation, confusion = found.hungarian_permutation, found.confusion
    if permutation is None or confusion is None or found.hungarian_accuracy is None:
        return None
    reference = own is not None and _in_order(own)
    matched = OF_OWN * own.accuracy if own is not None else MATCHED
    whole = (
        found.hungarian_accuracy >= (matched if reference else max(matched, RANDOM))
        and found.hungarian_accuracy - found.accuracy >= GAIN
        and (found.entropy_ratio_median < SURE or reference)
        and (found.permutation_stability or 0) >= STABLE
    )
    if not whole and not _as_right_as_sure(found):
        permutation = _exchanged(permutation, confusion, own.confusion if own is not None and reference else None)
        if permutation is None:
            return None
    return np.argsort(permutation)


def _as_right_as_sure(found: TeacherValidity) -> bool:
    """Whether a matching that was found on other rows makes it as right as a trained teacher's own confidence says."""
    right, confidence = found.accuracy_elsewhere, found.top1_mean
    if right is None or right < TIMES * found.accuracy:
        return False
    if found.entropy_ratio_median > UNSURE and right < MANY * found.chance:
        return False
    beyond = right - found.chance > BEYOND_CHANCE * standard_error(right, found.n)
    return beyond and AS_SURE_AS_RIGHT[0] <= right / confidence <= AS_SURE_AS_RIGHT[1]


def _in_order(own: TeacherValidity) -> bool:
    """Whether the teacher outside the loop is right far beyond chance, and no matching would make it more so."""
    matched = own.hungarian_accuracy
    return matched is not None and own.accuracy > own.chance + GAIN and matched - own.accuracy < SMALL_GAIN


def _exchanged(permutation: np.ndarray, confusion: np.ndarray, own: np.ndarray | None) -> np.ndarray | None:
    """The exchanges in it: cycles of classes each of which is wrong before and right after; None without any.

    confusion, own: [predicted, label] counts in the loop and outside. Other classes stay in place, and are about as
    right there: a teacher that confuses two of them now and then makes a matching move them for nothing.
    """
    rows, every = confusion.sum(axis=1), np.arange(len(permutation))
    found = rows >= ROWS
    before, after = (confusion[every, column] / np.maximum(rows, 1) for column in (every, permutation))
    good = found & (before <= WRONG_BEFORE) & (after - before >= GAIN)
    if own is None:
        usual = np.median(np.diag(confusion)[found] / rows[found]) if found.any() else 1.0
        good &= after >= min(RIGHT_AFTER, OF_USUAL * max(float(usual), RANDOM))
    else:
        outside = np.diag(own) / np.maximum(own.sum(axis=1), 1)
        # A class that the teacher gets wrong outside the loop as well was not moved by the loop.
        good &= (after >= np.minimum(RIGHT_AFTER, OF_OWN * outside[permutation])) & (outside - before >= GAIN)
    kept = every.copy()
    for start in every:
        cycle = [start]
        while permutation[cycle[-1]] != start:
            cycle.append(permutation[cycle[-1]])
        if len(cycle) > 1 and good[cycle].all():
            kept[cycle] = permutation[cycle]
    moved = kept != every
    if not moved.any():
        return None
    # An exchange leaves all else in order; where it does not, the teacher has other troubles than its columns.
    stayed = confusion[~moved, every[~moved]].sum() / max(1, rows[~moved].sum()) if (~moved).any() else 1.0
    in_order = own is not None or stayed >= max(IN_ORDER, MATCHED * float(after[moved].mean()))
    return kept if in_order else None
