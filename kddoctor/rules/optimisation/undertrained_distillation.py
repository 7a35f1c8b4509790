"""The schedule ended while the student was still improving.

What it checks
    Whether accuracy (or agreement) on held-out rows still rose in the last third of the schedule, by a robust line
    and its 90 % interval, and whether the student is still clearly below its teacher.

Why it hurts
    Matching a function takes many more steps than fitting labels. A run that is stopped early measures the schedule,
    not the method.

What it looks like
    The best epoch is the last one; a longer run wins.

Told apart from
    KD401 and KD402, where the curves are level. KD501, where the learning rate is so low that no affordable schedule
    is long enough.

Fix
    - epochs: 10
    + epochs: 40

Treat automatically
    Yes: the student is retrained with four times the epochs.

Read more
    Beyer et al. 2022, arXiv:2106.05237: patience.
"""

from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.measurements import Gaps
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.registry import RECORD, rule
from kddoctor.run.manifest import Manifest

PROBE = "learning-curve"
#: Points that another schedule of the same length would add at the final slope; a third of it is believed.
STILL_RISING = 0.06
#: Points below the teacher from which more training is worth asking for.
BELOW_TEACHER = 0.02
LONGER = 4


@rule(
    "KD502",
    name="undertrained-distillation",
    family="optimisation",
    title="The schedule ended while the student was still improving",
    stage=52,
    reads=(LearningCurve, Manifest),
    uses=(Gaps,),
    masks=("KD402",),
)
def undertrained_distillation(curve: LearningCurve, config: Manifest, held_out: Gaps | None) -> Finding | NotExamined:
    finding = Finding()
    trend = curve.quality
    if trend is None:
        return NotExamined(*RECORD["LearningCurve"])
    text = (
        f"held-out {curve.quality_key} rises by {trend.rise:+.3f} per schedule at the end "
        f"(90 % interval {trend.low:+.3f} to {trend.high:+.3f})"
    )
    if trend.low > 0 and trend.rise > STILL_RISING:
        finding = finding.supported_by(
            PROBE, "rise", trend.rise, text, threshold=STILL_RISING, origin="convention", weight=5.0
        )
        if trend.best_is_last:
            finding = finding.supported_by(
                PROBE, "best", trend.best, "the best evaluation is at the very end", weight=1.0
            )
    else:
        finding = finding.against(
            PROBE, "rise", trend.rise, text, threshold=STILL_RISING, origin="convention", weight=8.0
        )
    if held_out is not None:
        below = held_out.gaps.teacher_accuracy - held_out.gaps.student_accuracy
        if below < BELOW_TEACHER:
            finding = finding.against(
                "example-gaps",
                "below_teacher",
                below,
                f"the student is {100 * below:.1f} points below its teacher: little is left to gain",
                threshold=BELOW_TEACHER,
                origin="convention",
                grade=Grade.STATISTICAL,
                weight=8.0,
            )
    epochs = config.training.epochs
    return finding.saying(
        "Training ended while the student was still improving.",
        where="kd_run.yaml: training.epochs",
        severity="warning",
    ).prescribe(
        f"{LONGER} times the epochs",
        safety="careful",
        training__epochs=LONGER * (epochs or max(1, round(curve.epochs) or 1)),
    )
