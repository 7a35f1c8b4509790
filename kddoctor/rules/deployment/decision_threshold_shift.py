"""The order of the scores is sound, and the threshold for them has moved.

What it checks
    Whether the student's mean probability is far from the share of yes, in logits and in standard errors, where that
    of its teacher or of the labels-only student is not; and whether the student ranks as well as these. What moving
    the threshold would gain in accuracy is counted row by row.

Why it hurts
    Whoever acts on score > 0.5 acts on nearly every row, or on none.

What it looks like
    The area under the ROC curve is as good as ever; precision, recall and the number of alarms are not.

Told apart from
    KD208 and KD901, where the scores are of another size but centred. KD102, where the ranking suffers as well. Scores
    trained on pairs, which say nothing about a threshold: then the teacher's are off, too. A loss that no known form
    reproduces, which comes first.

Fix
    - pos_weight=torch.tensor(20.0)
    + no weight, or z − log 20 afterwards; and the logarithm of the sampling rate off the scores of a sampled teacher

Treat automatically
    Yes: the student is retrained without a weight, on the teacher's own logits. Moving the threshold is cheaper.

Read more
    Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7: calibration in the large. He et al. 2014, "Practical lessons
    from predicting clicks on ads at Facebook", section 6.3.
"""

from scipy.stats import binom

from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Logits, Share

PROBE = "threshold-shift"
#: Logits and points of probability from which a shift matters. Sound students of movielens stay below 0.1 and 0.02.
LOGITS: Logits = 0.5
POINTS: Share = 0.05
#: Standard errors of the mean probability.
ERRORS: Deviations = 5.0
#: Share of the student's shift that whoever it is compared with may have.
OTHERS: Share = 0.33
#: Share of the best area above chance that has to be left for the ranking to count as kept.
RANKING: Share = 0.75
#: Probability that chance alone favours the moved threshold so much.
CHANCE: Share = 0.01


@rule(
    "KD705",
    name="decision-threshold-shift",
    family="deployment",
    title="The ranking is sound, and the decision threshold has moved",
    stage=73,
    last=True,
    only=(
        "binary",
        "ranking",
        "multilabel",
    ),
    reads=(ThresholdShifts,),
    uses=(LossForensics,),
    masks=("KD402", "KD502"),
)
def decision_threshold_shift(found: ThresholdShifts, loss: LossForensics | None = None) -> Finding:
    student = found.student
    off = student.predicted - student.base_rate
    finding = Finding().prescribe(
        "no weights of yes and no, and the teacher's own logits", safety="careful", treatment__positive_weight=1.0
    )
    shifted = abs(student.shift) >= LOGITS and abs(off) >= max(POINTS, ERRORS * student.error)
    text = (
        f"the student's mean probability is {student.predicted:.1%} where {student.base_rate:.1%} are yes: its "
        "logits are "
        f"{student.shift:+.2f} off"
    )
    if not shifted:
        return finding.against(
            PROBE, "shift", student.shift, text, threshold=LOGITS, origin="convention", weight=6.0
        ).saying("The decision threshold has moved.", severity="warning")
    others = [other for other in (found.teacher, found.baseline) if other is not None]
    centred = [other.shift for other in others if abs(other.shift) <= OTHERS * abs(student.shift)]
    gained = int(student.gained - student.lost)
    harmed = binom.sf(student.gained - 1, student.gained + student.lost, 0.5) < CHANCE
    if centred:
        finding = finding.supported_by(
            PROBE,
            "shift",
            student.shift,
            f"{text}, and those of {'its teacher' if centred[0] == found.teacher.shift else 'the labels-only student'} "
            f"{centred[0]:+.2f}; a moved threshold would be right on {gained:+d} of {student.n} rows",
            threshold=LOGITS,
            origin="calibrated on movielens",
            weight=7.0,
        )
    else:
        finding = finding.against(
            PROBE, "others", None, f"{text}; neither its teacher nor a twin is centred: no probabilities", weight=4.0
        )
    best = max(found.teacher_auc, found.baseline_auc or 0.0)
    kept = (found.student_auc - 0.5) / max(best - 0.5, 1e-9)
    if kept < RANKING:
        finding = finding.against(
            "example-gaps",
            "student_auc",
            kept,
            f"the ranking is not sound either: {found.student_auc:.3f} where {best:.3f} is possible",
            threshold=RANKING,
            weight=12.0,
        )
    if loss is not None and loss.unexplained:
        finding = finding.against(
            "loss-forensics",
            "relative_error",
            None,
            "no form that is known reproduces the recorded loss: what was minimised comes before where it is cut",
            weight=5.0,
        )
    loop = found.in_loop
    if loop is not None and abs(loop.shift) >= LOGITS and loop.shift * student.shift > 0 and centred:
        finding = finding.supported_by(
            PROBE,
            "in_loop",
            loop.shift,
            f"inside the loop the teacher's logits are {loop.shift:+.2f} off, outside {found.teacher.shift:+.2f}",
            threshold=LOGITS,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=2.0,
        )
    return finding.saying(
        "The order of the scores is sound, and the threshold for them has moved.",
        where="weights of yes and no, or the teacher's sampling rate",
        severity="error" if harmed else "warning",
    )
