"""The teacher knows the task, but less well than a student trained on the labels alone.

What it checks
    The teacher's accuracy on held-out rows against that of the same student trained without a teacher.

Why it hurts
    Where the teacher is worse than the labels, following it pulls the student down: the larger alpha, the further.

What it looks like
    Distillation is worse than plain training, and the hard-label loss falls more slowly with it.

Told apart from
    KD101 (the teacher is at chance), KD105 (right after a permutation of classes), KD108 (right with its own
    preprocessing), KD401 (the teacher is clearly better than the student).

Fix
    Fine-tune the teacher on this task first, lower alpha to 0.1, or distil only where the teacher is right.

Treat automatically
    In part: the student is retrained with a small alpha. A better teacher has to come from you.

Read more
    Cho and Hariharan 2019, arXiv:1910.01348.
"""

import math

from kddoctor.probes.measurements import Gaps, TeacherView, TeacherViews
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Share
from kddoctor.run.manifest import Manifest

PROBE = "example-gaps"
#: Standard errors of a difference of two accuracies on the same rows that make it significant.
SIGNIFICANT: Deviations = 2.0
#: Smallest difference in accuracy that matters, as in the benchmark's definition of a mild fault.
ONE_POINT: Share = 0.01
#: Points, and standard errors, by which a student beats its teacher when no self-distillation does.
CLEARLY: Share = 0.03
CLEAR_ERRORS: Deviations = 4.0
#: Accuracy minus mean confidence: label smoothing of 0.1 costs a tenth of confidence, not a quarter.
UNSURE: Share = 0.25
#: Standard errors of chance.
ACCIDENT: Deviations = 4.0
#: Weight at which a weak teacher does little harm.
SMALL_ALPHA: Share = 0.1
#: A teacher this good is at the limit of the task rather than weak.
GOOD: Share = 0.95
#: A teacher that is right this often after a permutation of classes is not weak.
MATCHED: Share = 0.8


def _by_accident(view: TeacherView) -> float:
    """Skill that a teacher without any shows on so few rows."""
    found = view.validity
    return ACCIDENT * math.sqrt(found.chance / max(1, found.n) / max(1e-9, 1 - found.chance))


@rule(
    "KD102",
    name="weak-or-off-task-teacher",
    family="pipeline",
    title="The teacher is weaker than a student trained on the labels alone",
    stage=14,
    reads=(TeacherViews, Gaps, Manifest),
    masks=(
        "KD302",
        "KD402",
        "KD502",
    ),
)
def weak_or_off_task_teacher(teacher: TeacherViews, held_out: Gaps, config: Manifest) -> Finding:
    gaps = held_out.gaps
    view = teacher.own
    finding = Finding()
    if view is None or view.skill <= _by_accident(view):
        return finding
    reference, name = held_out.baseline_accuracy, "the same student trained on labels alone"
    own_control = reference is not None
    if reference is None:
        reference, name = gaps.student_accuracy, "its own student"
    behind = reference - gaps.teacher_accuracy
    error = (2 * max(reference * (1 - reference), 1 / gaps.n) / gaps.n) ** 0.5
    gained = gaps.student_accuracy - reference
    if behind > max(ONE_POINT, SIGNIFICANT * error):
        # A student that its teacher holds back, and that is far better all the same, would be so without it.
        clearly = not own_control and behind > max(CLEARLY, CLEAR_ERRORS * error)
        finding = finding.supported_by(
            PROBE,
            "teacher_accuracy",
            gaps.teacher_accuracy,
            f"the teacher is right on {gaps.teacher_accuracy:.1%}, {name} on {reference:.1%}",
            threshold=reference,
            origin="identity",
            grade=Grade.INTERVENTIONAL if own_control else Grade.STATISTICAL,
            weight=5.0 if clearly else None,
        )
    elif own_control and behind > -error and gained <= 0 and gaps.teacher_accuracy < GOOD:
        finding = finding.supported_by(
            PROBE,
            "teacher_accuracy",
            gaps.teacher_accuracy,
            f"the teacher is right on {gaps.teacher_accuracy:.1%}, no more than {name} ({reference:.1%}), and "
            f"distilling gained nothing ({gaps.student_accuracy:.1%})",
            threshold=reference,
            origin="taxonomy",
            weight=5.0,
        )
    elif behind < -error:
        finding = finding.against(
            PROBE,
            "teacher_accuracy",
            gaps.teacher_accuracy,
            f"the teacher is right on {gaps.teacher_accuracy:.1%}, {name} on {reference:.1%}",
            threshold=reference,
            grade=Grade.PROOF,
        )
    matched = view.validity.hungarian_accuracy
    if matched is not None and matched >= MATCHED > view.validity.accuracy:
        finding = finding.against(
            "teacher-validity",
            "hungarian_accuracy",
            matched,
            f"after the best matching of classes it is right on {matched:.1%}",
            threshold=MATCHED,
            weight=8.0,
        )
    unsure = view.validity.accuracy - view.validity.top1_mean
    if unsure > UNSURE and behind > -error:
        finding = finding.supported_by(
            "teacher-validity",
            "top1_mean",
            view.validity.top1_mean,
            f"it is right on {view.validity.accuracy:.1%} and only {view.validity.top1_mean:.1%} sure: its training "
            "had hardly begun",
            threshold=UNSURE,
            origin="convention",
            weight=2.0,
        )
    if own_control and gained > SIGNIFICANT * error:
        finding = finding.against(
            PROBE,
            "student_accuracy",
            gaps.student_accuracy,
            "distilling still gained on the labels-only student",
            threshold=reference,
            weight=6.0,
        )
    alpha = config.distillation.alpha
    return finding.saying(
        f"The teacher is weaker than {name}.",
        where="the choice of the teacher",
        # Its small weight is what is prescribed: then the teacher is worth a word, and no alarm.
        severity="note" if alpha is not None and alpha <= SMALL_ALPHA else "error",
    ).prescribe(
        "a teacher trained on this task; until then a small alpha",
        safety="careful",
        distillation__alpha=SMALL_ALPHA,
    )
