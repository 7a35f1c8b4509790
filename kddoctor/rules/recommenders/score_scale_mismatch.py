"""The scores of teacher and student live on different scales.

What it checks
    Whether the scores that the loss got are the teacher's own ones times a factor far from one, or another function of
    them that no longer is a logit, points, grades and ranks within a batch included; whether the recorded loss
    compares a raw score with a probability; whether the teacher's scores, read as logits, say yes (or no) to nearly
    all rows, some of which are neither, and rank them well, or lie farther from zero than training takes a logit; and
    whether the student's scores are a fraction of the teacher's and most of them stand at their own limit, as
    cosines do.

Why it hurts
    The student is to equal numbers of another unit: margins that it cannot reach, or a range so narrow that hardly
    anything is asked of it.

What it looks like
    The ranking is passable and the margins are wrong. The loss stays high, or is next to nothing from the start.

Told apart from
    KD208, a weight on the loss instead of a scale on the scores. KD205, a softmax or sigmoid that is taken twice. A
    teacher whose scores were calibrated again, by a factor close to one. KD901, whose scores are no function of the
    teacher's own.

Fix
    - loss = mse(student_score, sigmoid(teacher_score))
    + loss = mse(student_score, teacher_score)
    Raw scores on both sides, or standardised ones, or a loss on the order alone.

Treat automatically
    Yes: the student is retrained on the teacher's own scores with the declared loss.

Read more
    Kweon et al. 2021, arXiv:2109.03459, on what to compare in ranking distillation.
"""

from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.probes.logit_scale import LogitScale
from kddoctor.probes.score_link import ScoreLink
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Nats, Share
from kddoctor.rules.soft_targets.logit_scale_mismatch import AT_EDGE, TRAINED_MARGIN
from kddoctor.run.manifest import Manifest

PROBE = "score-link"
#: Slopes of used on own scores between which a scale is a matter of taste (taxonomy).
LOWEST_SLOPE: Factor = 0.3
HIGHEST_SLOPE: Factor = 3.0
#: Variance that a line leaves: less is float32's rounding, more is another function.
A_LINE, NO_LINE = 1e-6, 1e-3
#: Mean probability, of all rows or of none, of scores that are no logits; share of yes among rows that are some of
#: both; area under the ROC curve of a teacher that ranks.
ALL_ONE_WAY: Share = 0.9
SOME_OF_BOTH: Share = 0.2
RANKS: Share = 0.6
#: Nats by which scores are off that are no logits: the logarithm of a sampling rate of one in 20,000.
FAR_OFF: Nats = 10.0
#: Standard deviation of the student's scores over that of the teacher's (taxonomy: ranges that differ fivefold).
FRACTION: Factor = 0.2
#: Shift of the student's scores, in nats, of one that does not say how often the answer is yes (KD705 has the same).
UNBIASED: Nats = 0.5
#: Relative error of an identity in float32.
IDENTITY = 1e-4


@rule(
    "KD902",
    name="score-scale-mismatch",
    family="recsys",
    title="The scores of teacher and student live on different scales",
    stage=24,
    only=(
        "ranking",
        "binary",
    ),
    reads=(Manifest,),
    uses=(ScoreLink, ThresholdShifts, LogitScale),
    masks=("KD102", "KD111", "KD208", "KD301", "KD302", "KD305", "KD402", "KD502", "KD705"),
    # A score that is compared with a probability is a loss of another task, too, by a cause that is known.
    implies=("KD214",),
)
def score_scale_mismatch(
    config: Manifest, link: ScoreLink | None, scores: ThresholdShifts | None, scale: LogitScale | None = None
) -> Finding | NotExamined:
    finding = Finding()
    if not distils(config):
        return finding
    if scores is not None and _no_logits(scores):
        return _of_scores(finding, scores)
    if link is None:
        by_size = _of_size(scale, scores)
        return by_size if by_size.supporting else NotExamined(*RECORD["ScoreLink"])
    said = "The loss compares scores of different units."
    line = f"the loss got {link.intercept:+.3g} {link.slope:+.3g} times the teacher's own score"
    # Two answers exchanged turn the line round (KD105), and probabilities passed as scores have a code too (KD205).
    probabilities = link.low >= 0 and link.high <= 1
    if link.slope > 0 and link.unexplained < A_LINE and not LOWEST_SLOPE <= link.slope <= HIGHEST_SLOPE:
        finding = finding.supported_by(
            PROBE,
            "slope",
            link.slope,
            f"{line}, on all {link.rows} rows",
            threshold=HIGHEST_SLOPE if link.slope > 1 else LOWEST_SLOPE,
            origin="paper",
            grade=Grade.PROOF,
        )
        said = f"The teacher's scores reach the loss {link.slope:.3g} times as large as they are."
    elif (link.monotone or _graded(link)) and link.unexplained > NO_LINE and not probabilities:
        finding = finding.supported_by(
            PROBE,
            "unexplained",
            link.unexplained,
            f"the loss got a rising function of the teacher's own scores that is no line: {link.low:.3g} to "
            f"{link.high:.3g} for {link.own_low:.3g} to {link.own_high:.3g}, on {link.rows} rows",
            threshold=NO_LINE,
            grade=Grade.PROOF,
        )
    elif link.ordered and link.unexplained > NO_LINE and not probabilities:
        finding = finding.supported_by(
            PROBE,
            "ordered",
            link.unexplained,
            "within every step the loss got a rising function of the teacher's own scores, and another one in each: "
            f"{link.low:.3g} to {link.high:.3g} for {link.own_low:.3g} to {link.own_high:.3g}, on {link.rows} rows",
            threshold=NO_LINE,
            grade=Grade.PROOF,
        )
        said = "The teacher's scores reach the loss as ranks, or in units that each batch sets."
    elif link.mixed_error is not None and link.mixed_error < IDENTITY:
        finding = finding.supported_by(
            PROBE,
            "mixed_error",
            link.mixed_error,
            f"recorded = mean square of {link.mixed_units}, on every step",
            threshold=IDENTITY,
            grade=Grade.PROOF,
        )
    elif link.unexplained < A_LINE and link.slope > 0:
        return finding.against(
            PROBE, "slope", link.slope, line, threshold=HIGHEST_SLOPE, origin="paper", grade=Grade.PROOF
        )
    return finding.saying(said, where="the training loop: how scores reach the loss").prescribe(
        "the teacher's own raw scores", treatment__pairing="online", loss__form="declared"
    )


def _of_size(scale: LogitScale | None, scores: ThresholdShifts | None) -> Finding:
    """Where the way from score to loss was not recorded: how large the scores of both models are."""
    finding = Finding()
    if scale is None or scores is None:
        return finding
    said = "The teacher's scores are no logits."
    if scale.teacher_margin > TRAINED_MARGIN and scores.teacher_auc >= RANKS:
        finding = finding.supported_by(
            "logit-scale",
            "teacher_margin",
            scale.teacher_margin,
            f"the teacher's scores lie {scale.teacher_margin:.1f} from zero (median), where a logit has no gradient "
            "left at 17",
            threshold=TRAINED_MARGIN,
            origin="float32; convention",
            weight=5.0,
        )
    elif _bounded(scale, scores):
        said = "The student's scores cannot become as large as the teacher's."
        finding = finding.supported_by(
            "logit-scale",
            "top_edge",
            scale.top_edge,
            f"the student's scores spread by {scale.student_sd:.2g}, the teacher's by {scale.teacher_sd:.2g}; half of "
            f"the student's lie at {scale.top_edge:.0%} of its largest or beyond, as bounded ones do, and they rank "
            f"the rows without saying how often the answer is yes ({scores.student.predicted:.0%} where "
            f"{scores.student.base_rate:.0%} are)",
            threshold=AT_EDGE,
            origin="paper; calibrated on digits",
            weight=5.0,
        )
    return finding.saying(said, where="the student's last layer, or how scores reach the loss").prescribe(
        "standardised scores on both sides, or a factor that is learned", automatic=False, safety="manual"
    )


def _bounded(scale: LogitScale, scores: ThresholdShifts) -> bool:
    """Whether the student ranks the rows by scores that stand at a limit, which a bias alone would take elsewhere."""
    small = scale.student_sd < FRACTION * scale.teacher_sd and scale.top_edge > AT_EDGE
    return small and scores.student_auc >= RANKS and abs(scores.student.shift) > UNBIASED


def _no_logits(scores: ThresholdShifts) -> bool:
    """Scores that rank the rows, and say one thing of nearly all, where a good part is the other; or that no rate at
    which rows are sampled takes so far off.
    """
    teacher = scores.teacher
    extreme = max(teacher.predicted, 1 - teacher.predicted) >= ALL_ONE_WAY
    some = extreme and SOME_OF_BOTH <= teacher.base_rate <= 1 - SOME_OF_BOTH
    return (some or abs(teacher.shift) > FAR_OFF) and scores.teacher_auc >= RANKS


def _of_scores(finding: Finding, scores: ThresholdShifts) -> Finding:
    teacher = scores.teacher
    return (
        finding.supported_by(
            "threshold-shift",
            "predicted",
            teacher.predicted,
            f"read as logits, the teacher's scores expect {teacher.predicted:.1%} of yes where {teacher.base_rate:.1%} "
            f"are; they rank the rows with an area of {scores.teacher_auc:.2f} under the ROC curve",
            threshold=ALL_ONE_WAY,
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        .saying("The teacher's scores are no logits.", where="the training loop: how scores reach the loss")
        .prescribe("standardised scores on both sides, or a loss on the order alone", automatic=False, safety="manual")
    )


def _graded(link: ScoreLink) -> bool:
    """Grades or points that the scores were rounded to: another unit, and not the rounding of scores of their own."""
    taste = LOWEST_SLOPE <= link.slope <= HIGHEST_SLOPE
    return link.stepped and (not taste or link.low >= 0 > link.own_low)
