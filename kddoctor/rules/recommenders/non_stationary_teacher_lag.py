"""The teacher was trained on an older time than the student, and tastes have changed since.

What it checks
    The time windows of both training sets (observations.json, training_windows: {teacher: [from, to], student:
    [from, to]}, as dates or numbers; without them this code cannot be seen), and whether the teacher is behind on the
    held-out rows.

Why it hurts
    A teacher of last quarter rates new items by guesswork and old ones by what they were worth. The student, trained on
    this week, is pulled back.

What it looks like
    Distillation helped at first and does less with every retraining of the student.

Told apart from
    KD102, a teacher that is weak on its own time as well. KD603, where rows differ in where they come from and not in
    when. KD901, where the teacher prefers what is popular, then and now.

Fix
    - teacher = load("teacher-2024-01")
    + retrain, or fine-tune, the teacher on the student's window; lower its weight until then

Treat automatically
    In part: the student is retrained with a small alpha. A newer teacher has to come from you.

Read more
    Lazaridou et al. 2021, arXiv:2102.01951: models that age.
"""

from kddoctor.probes.measurements import Gaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.user_facts import TrainingWindows
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Share

PROBE = "training-windows"
#: Share of the student's window that the teacher never saw, from which it lags; and below which it does not.
LAGS: Share = 0.5
UP_TO_DATE: Share = 0.1
#: Weight at which an old teacher does little harm.
SMALL_ALPHA: Share = 0.1


@rule(
    "KD904",
    name="non-stationary-teacher-lag",
    family="recsys",
    title="The teacher was trained on an older time than the student",
    stage=14,
    reads=(TrainingWindows,),
    uses=(Gaps,),
    masks=("KD102", "KD402"),
)
def non_stationary_teacher_lag(windows: TrainingWindows, held_out: Gaps | None) -> Finding:
    unseen = windows.unseen
    text = f"{unseen:.0%} of the time that the student's rows come from is later than all of the teacher's"
    finding = Finding()
    behind = _behind(held_out)
    if unseen > LAGS:
        finding = finding.supported_by(
            PROBE, "unseen", unseen, text, threshold=LAGS, origin="convention", grade=Grade.PROOF, weight=6.0
        )
        if behind is not None:
            finding = finding.supported_by(
                "example-gaps",
                "teacher_accuracy",
                behind,
                f"on held-out rows it is right on {behind:.1%} less than the student without it",
                threshold=0.0,
                origin="two standard errors",
                grade=Grade.INTERVENTIONAL,
            )
    elif unseen < UP_TO_DATE:
        finding = finding.against(
            PROBE, "unseen", unseen, text, threshold=UP_TO_DATE, origin="convention", grade=Grade.PROOF
        )
    return finding.saying(
        "The teacher is of an older time than what the student is to learn.",
        where="the choice of the teacher's checkpoint",
        # An old teacher that is still ahead is worth a word.
        severity="error" if behind is not None else "note",
    ).prescribe(
        "a teacher trained on the same window; until then a small alpha",
        safety="careful",
        distillation__alpha=SMALL_ALPHA,
    )


def _behind(held_out: Gaps | None) -> float | None:
    """Accuracy by which the labels-only twin is ahead of the teacher, where it is for certain."""
    if held_out is None or held_out.baseline_accuracy is None:
        return None
    ahead = held_out.baseline_accuracy - held_out.gaps.teacher_accuracy
    error = standard_error(held_out.gaps.teacher_accuracy, held_out.gaps.n)
    return ahead if ahead > noise_of_difference(error) else None
