"""Teacher and student are the same model.

What it checks
    Whether the two sets of logits are equal at every recorded step; or at the first one, by a teacher that knows no
    more of the task than a student that has learnt nothing yet, whether or not it learns along later; or that was
    trained, where the student, which began as that very model, gained nothing on it.

Why it hurts
    There is nothing to learn from oneself: the distillation term and its gradient are zero, whatever its weight.

What it looks like
    A distillation loss of exactly zero, at the first step at least, and a "teacher" whose accuracy rises along with the
    student's, or is chance.

Told apart from
    KD209, where the teacher is another model and the loss compares one of the two with itself. KD104, where the
    teacher drifts towards the student, and starts elsewhere. KD101, whose teacher is at chance too, with weights of its
    own. A student that starts as a copy of a teacher, and is better than both it and labels alone in the end.

Fix
    - teacher = student if teacher is None else teacher
    + if teacher is None: raise ValueError("name a teacher")
    Assert at the first step that teacher and student share no parameter and differ in their outputs.

Treat automatically
    Yes where the teacher's own checkpoint lies in the run directory: the student is retrained from it.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2.
"""

from kddoctor.probes.measurements import Gaps, TeacherViews
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.sameness import Sameness
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.teacher_not_frozen import FROZEN
from kddoctor.rules.pipeline.teacher_weights_not_loaded import NO_SKILL
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Share
from kddoctor.run.observations import Observations

PROBE = "sameness"
#: Largest |z_T − z_S| over the largest |z_T|: float16 copies of one model stay below this, two models do not.
EQUAL: Share = 1e-3


@rule(
    "KD109",
    name="teacher-equals-student",
    family="pipeline",
    title="Teacher and student are the same model",
    stage=9,
    reads=(Sameness,),
    uses=(TeacherViews, Observations, Gaps),
    masks=(
        "KD102",
        "KD208",
        "KD301",
        "KD302",
        "KD401",
        "KD402",
        "KD501",
        "KD502",
        "KD503",
    ),
    implies=("KD101", "KD103", "KD104", "KD106", "KD110", "KD111", "KD209", "KD211"),
)
def teacher_equals_student(
    same: Sameness,
    teacher: TeacherViews | None = None,
    seen: Observations | None = None,
    held_out: Gaps | None = None,
) -> Finding:
    if of_first_weights(same, teacher, seen):
        return Finding().against(
            PROBE,
            "first",
            same.first,
            "the targets are the logits of the student's first weights, and the teacher that was recorded is another "
            "model",
            threshold=EQUAL,
            grade=Grade.PROOF,
        )
    copied = same.first <= EQUAL and _knows_nothing(teacher)
    followed = same.first <= EQUAL and _follows(same, seen)
    began = same.first <= EQUAL and held_out is not None and _no_better(held_out)
    if same.largest > EQUAL and not copied and not followed and not began:
        return Finding().against(
            PROBE,
            "largest",
            same.largest,
            f"teacher and student differ by up to {same.largest:.1%} of the largest logit",
            threshold=EQUAL,
            grade=Grade.PROOF,
        )
    # Two models of different weights do not give the same logits, not even before they learn anything.
    measure, value, text = (
        ("largest", same.largest, f"teacher and student gave the same logits at each of {same.steps} recorded steps")
        if same.largest <= EQUAL
        else ("first", same.first, "the student began with the very logits of a teacher that is no better than chance")
        if copied
        else (
            "first",
            same.first,
            "the student began with the very logits of a teacher that was no better than chance then, and that changed "
            "during the run",
        )
        if followed
        else ("first", same.first, "the student began with the very logits of its teacher, and is no better in the end")
    )
    summary = (
        "The student is its own teacher."
        if same.largest <= EQUAL
        else "The teacher is a copy of the untrained student."
        if copied
        else "The teacher is a copy of the student, and is copied again as it learns."
        if followed
        else "Teacher and student began as the same model: there was nothing to learn."
    )
    return (
        Finding()
        .supported_by(PROBE, measure, value, text, threshold=EQUAL, grade=Grade.PROOF)
        .saying(summary, where="the training loop: the model that makes the targets")
        .prescribe("run the real teacher", automatic=False, safety="manual")
    )


def of_first_weights(same: Sameness, teacher: TeacherViews | None, seen: Observations | None) -> bool:
    """Whether the student's own first logits were its targets, of a run whose teacher, run by the recorder, knows more.

    Then the loss does not take the teacher's outputs (KD209): a teacher that is the student's copy knows nothing.
    """
    if same.first > EQUAL or same.largest <= EQUAL or _follows(same, seen):
        return False
    skill = _own_skill(teacher)
    return skill is not None and skill > NO_SKILL and _unknowing(same)


def _knows_nothing(teacher: TeacherViews | None) -> bool:
    """Whether the teacher is at chance on every split, run by the recorder itself."""
    skill = _own_skill(teacher)
    return skill is not None and skill <= NO_SKILL


def _own_skill(teacher: TeacherViews | None) -> float | None:
    """The best that the teacher does, run by the recorder itself; None where it was not."""
    own = [] if teacher is None else [view.skill for view in (teacher.own, teacher.own_train) if view is not None]
    return max(own, default=None)


def _unknowing(same: Sameness) -> bool:
    """Whether the targets of the first step knew nothing of the labels."""
    return same.first_skill is not None and same.first_skill <= NO_SKILL


def _follows(same: Sameness, seen: Observations | None) -> bool:
    """Whether a teacher that knew nothing at the first step became another one later."""
    drift = None if seen is None else seen.teacher_drift
    return _unknowing(same) and drift is not None and drift > FROZEN


def _no_better(held_out: Gaps) -> bool:
    """Whether the student is no better than its teacher and, where there is a twin, than labels alone made it."""
    gaps, twin = held_out.gaps, held_out.baseline_accuracy
    best = gaps.teacher_accuracy if twin is None else max(gaps.teacher_accuracy, twin)
    return gaps.student_accuracy - best <= noise_of_difference(standard_error(best, gaps.n))
