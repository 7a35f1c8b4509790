"""The teacher gets its inputs in another form than the one it was trained on.

What it checks
    Whether teacher and student are given differently prepared or arranged inputs, and whether the teacher is worse on
    what it is given than on its own preprocessing, or than a student that never had a teacher. And whether a second
    pass over the same rows is right where the targets are wrong, although nothing was drawn at random.

Why it hurts
    A teacher with the wrong normalisation, resolution or order of channels is still sure of itself, and wrong: the
    student learns its mistakes.

What it looks like
    A teacher well above chance and well below its reference, that prefers some classes; nothing in the log.

Told apart from
    KD102, where the teacher is weak on its own inputs too. KD107, where the student's inputs are random views: where
    nobody noted what the inputs are like, a teacher that is far worse is taken for badly prepared. KD101, where the
    teacher is at chance. Teachers of another kind may need another preparation: where they do well with it, nothing is
    wrong. A pipeline that both models share leaves no trace in a record unless the teacher's reference is known: run
    the teacher on its own preprocessing (--live) to see it.

Fix
    - t = teacher(student_batch)
    + t = teacher(to_teacher(student_batch))     # the teacher's own normalisation, resolution, channel order
    Assert that the teacher's accuracy inside the loop is the one on its model card.

Treat automatically
    Yes where kd_run.yaml names code.teacher_transform.

Read more
    Beyer et al. 2022, arXiv:2106.05237. PyTorch documentation of torchvision's weights and their transforms.
"""

from kddoctor.probes.measurements import Gaps, TeacherView, TeacherViews
from kddoctor.probes.passes_again import PassesAgain
from kddoctor.probes.row_pairing import RowPairing
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.targets_again import TargetsAgain
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.first_step import better_at_first
from kddoctor.rules.pipeline.teacher_in_train_mode import REPEATABLE
from kddoctor.rules.pipeline.teacher_inputs import (
    SKEWED,
    badly_prepared,
    changed_in_loop,
    described,
    drawn_anew,
    inputs_alike,
    not_random,
)
from kddoctor.rules.pipeline.teacher_rows_misaligned import HISTOGRAM, STRAYS
from kddoctor.rules.pipeline.teacher_weights_not_loaded import NO_SKILL, SURE_OF_ITSELF
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Deviations, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "teacher-validity"
#: Skill (share of what is possible above chance) by which a teacher on the wrong inputs falls behind, at the least.
#: In the loop it sees rows of training, on which it is no worse than elsewhere; the margin is for augmentation.
BEHIND: Share = 0.05
#: Skill that a teacher may lose inside the loop to honest augmentation.
AUGMENTATION: Share = 0.25
#: Standard errors of the loop's rows, which may be few.
NOISE: Deviations = 3.0
#: Entropy, as a share of the largest, by which a teacher that is as right as before is less sure than it was.
LESS_SURE: Share = 0.3
#: Correlation of the targets with a second pass from which they are answers to the same examples; share of the rows
#: that differ whose values are those of another order of the classes, which is KD105; and the gain in correlation of
#: columns that were moved.
SAME_EXAMPLE: Correlation = 0.3
REORDERED: Share = 0.1
PERMUTED: Correlation = 0.2


@rule(
    "KD108",
    name="teacher-preprocessing-mismatch",
    family="pipeline",
    title="The teacher is given inputs that are prepared for another model",
    stage=12,
    reads=(TeacherViews, Observations),
    uses=(Gaps, RowPairing, TeacherPasses, TargetsAgain, PassesAgain, TargetsInLoop, Manifest, StudentPath),
    masks=("KD101", "KD102", "KD107", "KD208", "KD302", "KD304", "KD307", "KD401", "KD402", "KD501", "KD502", "KD603"),
)
def teacher_preprocessing_mismatch(
    views: TeacherViews,
    seen: Observations,
    held_out: Gaps | None,
    pairing: RowPairing | None = None,
    passes: TeacherPasses | None = None,
    again: TargetsAgain | None = None,
    both: PassesAgain | None = None,
    targets: TargetsInLoop | None = None,
    config: Manifest | None = None,
    path: StudentPath | None = None,
) -> Finding:
    alike = inputs_alike(seen)
    if alike is None and _worse_than_again(seen, both, targets, passes):
        assert both is not None
        return _by_passes(both)
    if seen.same_inputs is False and drawn_anew(again, seen):
        return Finding().against(
            "targets-again",
            "found",
            None if again is None else again.found,
            "a row's target is another one each time: the teacher gets random views, and no fixed preparation",
            weight=8.0,
        )
    if views.in_loop is None:
        return Finding()
    if path is not None and better_at_first(path, views.in_loop):
        return Finding().against(
            "student-path",
            "teacher_right",
            float(path.teacher_right[0]),
            f"on what it was given at the first step the teacher was right on {path.teacher_right[0]:.1%}, and on "
            f"{views.in_loop.validity.accuracy:.1%} of all rows of the loop: it is the teacher that changed",
            threshold=views.in_loop.validity.accuracy,
            weight=8.0,
        )
    if alike is None:
        return _by_skill(views, seen, pairing, passes)
    reference, source = _reference(views, held_out)
    lost = reference - views.in_loop.skill
    least = max(BEHIND, NOISE * views.in_loop.skill_error)
    # The same ids in another order are another text: a view (KD107), which no preparation of tokens makes.
    tokens = config is not None and config.task == "tokens"
    rearranged = alike and seen.same_inputs is False and not tokens and _rearranged(seen, views.in_loop, pairing)
    if seen.same_inputs or (alike and not (rearranged and lost > least)):
        return Finding().against(
            "observations", "inputs", None, "teacher and student are given inputs that are prepared alike", weight=4.0
        )
    finding, places = Finding(), seen.inputs or {}
    texts = {role: described(places[f"loop_{role}"]) for role in ("teacher", "student")}
    how = (
        "the student gets the rows as they are, and the teacher other tensors of the same values"
        if rearranged
        else f"the teacher's inputs ({texts['teacher']}) are prepared otherwise than the student's ({texts['student']})"
    )
    if lost > least:
        finding = finding.supported_by(
            PROBE,
            "skill_lost",
            lost,
            f"{how}, and with them it has {views.in_loop.skill:.0%} of what is possible above chance, "
            f"where {source} has {reference:.0%}",
            threshold=least,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
    elif lost <= BEHIND:
        finding = finding.against(
            PROBE,
            "skill_lost",
            lost,
            f"{how}, and it does as well with them as {source}",
            threshold=BEHIND,
            origin="convention",
            weight=8.0,
        )
    return _said(finding)


def _worse_than_again(
    seen: Observations, both: PassesAgain | None, targets: TargetsInLoop | None, passes: TeacherPasses | None
) -> bool:
    """Whether the targets are answers to the same examples, classes in place, that a second pass gives better."""
    if passes is None or targets is None or passes.relative_difference <= REPEATABLE or seen.same_inputs:
        return False
    moved = targets.columns_matched - targets.columns_in_place > PERMUTED or targets.reordered > REORDERED
    same = targets.changed_correlation >= SAME_EXAMPLE and not moved
    return same and not passes.teacher_training and badly_prepared(both, passes.same_inputs, passes.teacher_training)


def _by_passes(both: PassesAgain) -> Finding:
    same = ", and a row's target is the same each time that it comes by" if both.targets_stay else ""
    text = (
        f"on {both.worse} of {both.rows} rows the teacher is wrong in the loop and right in a second pass, on "
        f"{both.better} the other way round{same}: its inputs are prepared otherwise there"
    )
    finding = Finding().supported_by(
        "passes-again",
        "worse",
        float(both.worse),
        text,
        threshold=float(both.better),
        grade=Grade.INTERVENTIONAL,
        weight=8.0,
    )
    return _said(finding)


def _said(finding: Finding, harm: str = "worse") -> Finding:
    return finding.saying(
        f"The teacher is {harm} inside the loop, where its inputs are prepared in another way.",
        where="the training loop: preprocessing of the teacher's inputs",
    ).prescribe("prepare the teacher's inputs as in its own training", automatic=False, safety="manual")


def _rearranged(seen: Observations, in_loop: TeacherView, pairing: RowPairing | None) -> bool:
    """Whether the teacher gets the student's very rows in another arrangement: transposed, turned, cut otherwise.

    Not where the student's rows are random views (KD107), nor where the teacher's may be other rows: those leave their
    outputs elsewhere, or a teacher at chance whose classes are as frequent as the labels (KD106).
    """
    if not not_random(seen) or changed_in_loop(seen, "student") is not False or changed_in_loop(seen, "teacher"):
        return False
    return not _other_rows(in_loop, pairing)


def _other_rows(in_loop: TeacherView, pairing: RowPairing | None) -> bool:
    elsewhere = pairing is not None and pairing.elsewhere > STRAYS
    return elsewhere or (in_loop.skill <= NO_SKILL and in_loop.validity.histogram_l1 < HISTOGRAM)


def _by_skill(
    views: TeacherViews, seen: Observations, pairing: RowPairing | None, passes: TeacherPasses | None
) -> Finding:
    """Where nobody noted what the inputs are like: tensors of its own on which a good teacher is far worse."""
    # Where no second pass was recorded, a teacher in training mode is told by the flag alone.
    twice = passes is not None and passes.rows > 0
    repeats = passes.relative_difference <= REPEATABLE if passes and twice else seen.teacher_training is False
    if seen.same_inputs is not False or not repeats or views.own is None or views.in_loop is None:
        return Finding()
    own = views.own_train or views.own
    if max(own.skill, views.in_loop.skill) <= NO_SKILL and views.in_loop.validity.entropy_ratio_median < SURE_OF_ITSELF:
        return _sure_at_chance(views.in_loop) if twice else Finding()
    lost = own.skill - views.in_loop.skill
    # Views that are drawn at random make a teacher unsure; one preparation for all rows makes it prefer some classes.
    skewed = views.in_loop.validity.histogram_l1 - own.validity.histogram_l1 > SKEWED
    if not twice and not skewed:
        return Finding()
    if skewed and _unsure_but_right(views.in_loop, own):
        return _by_sureness(views.in_loop, own)
    least = max(BEHIND if skewed else AUGMENTATION, NOISE * views.in_loop.skill_error)
    if lost <= least or _other_rows(views.in_loop, pairing):
        return Finding()
    text = (
        f"the teacher is given other tensors than the student, and has {views.in_loop.skill:.0%} of what is possible "
        f"above chance with them, where it has {own.skill:.0%} on {own.source}"
    )
    return _said(
        Finding().supported_by(
            PROBE,
            "skill_lost",
            lost,
            text,
            threshold=least,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
        )
    )


def _unsure_but_right(in_loop: TeacherView, own: TeacherView) -> bool:
    """Whether the teacher is far less sure in the loop than on its own rows, and about as often right.

    Views that make it so unsure by being hard to read, or neurons that are left out, would have it wrong as well.
    """
    less_sure = in_loop.validity.entropy_ratio_median - own.validity.entropy_ratio_median
    return less_sure > LESS_SURE and abs(own.skill - in_loop.skill) < AUGMENTATION and own.skill > NO_SKILL


def _by_sureness(in_loop: TeacherView, own: TeacherView) -> Finding:
    entropy, before = in_loop.validity.entropy_ratio_median, own.validity.entropy_ratio_median
    return _said(
        Finding().supported_by(
            PROBE,
            "less_sure",
            entropy - before,
            f"the teacher is given other tensors than the student; on them its entropy is {entropy:.0%} of the largest "
            f"possible, where on {own.source} it is {before:.0%}, and it prefers some classes, though it is about as "
            f"often right ({in_loop.skill:.0%} of what is possible above chance, and {own.skill:.0%})",
            threshold=LESS_SURE,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
        ),
        "far less sure",
    )


def _sure_at_chance(view: TeacherView) -> Finding:
    """The same at evaluation: whoever prepared the loop's inputs prepared those, too."""
    found = view.validity
    return _said(
        Finding().supported_by(
            PROBE,
            "entropy_ratio",
            found.entropy_ratio_median,
            f"the teacher is given other tensors than the student, is right on {found.accuracy:.1%} of them, as often "
            f"as chance, and sure of itself (entropy {found.entropy_ratio_median:.2f} of the largest): it was trained, "
            "and on inputs of another kind",
            threshold=SURE_OF_ITSELF,
            origin="taxonomy",
            weight=5.0,
        )
    )


def _reference(views: TeacherViews, held_out: Gaps | None) -> tuple[float, str]:
    """The best skill that is known of anybody on this task, and whose it is."""
    assert views.in_loop is not None
    found = [(view.skill, f"the teacher on {view.source}") for view in (views.own, views.own_train) if view is not None]
    if held_out is not None and views.in_loop.auc is None:
        chance = views.in_loop.validity.chance
        others = (
            (held_out.baseline_accuracy, "the same student without a teacher"),
            (held_out.gaps.student_accuracy, "the student itself"),
        )
        found += [((value - chance) / (1 - chance), name) for value, name in others if value is not None and chance < 1]
    return max(found, default=(views.in_loop.skill, "itself"))
