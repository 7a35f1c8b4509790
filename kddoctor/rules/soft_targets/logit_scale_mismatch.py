"""Teacher and student share a temperature, and their logits live on scales that cannot meet.

What it checks
    Whether most of the student's logits, or its margins on most rows, stand at a bound that is far below the teacher's
    range; whether their spread has long stood still, with a verified loss that would fall if all of them were larger,
    and neither dropout nor weight decay to hold them; whether, with a verified loss, the gradient that arrives at all
    of the student's parameters is far shorter than that in its logits, which a bias behind them gets whole unless
    something small multiplies them, while the logits stay far below the teacher's; whether the teacher's logits are
    larger than a cross-entropy can make them, so that a temperature that softens others does nothing; or whether a
    teacher that is better than its student is right where it is surest and not even half as sure, and tells its other
    answers apart there.

Why it hurts
    The divergence compares absolute differences of logits. A bounded student can be right in every order and still not
    get near; a teacher on a huge scale is one-hot at any usual temperature.

What it looks like
    The loss stays high although the ranking of classes is right, or the soft targets are hard whatever the temperature.

Told apart from
    KD301, whose temperature is too low for its teacher. KD402 and KD502, whose students are free to grow further: few
    of their logits stand at the largest value. KD501, whose short steps come of the rate and not of the logits' scale.
    KD504, whose logits are held by dropout or by weight decay. KD303, whose teacher keeps back as much, and has its
    other answers all alike; KD304, where no such share of wrong labels leaves a teacher right; KD307, whose decoys are
    sure; KD102, whose teacher was trained too little to be right.
    A divergence lets a free student match any scale, so that a difference alone is no fault.

Fix
    - loss = kl(student / T, teacher / T)
    + loss = kl(standardise(student) / T, standardise(teacher) / T)
    Or take the scale (or the bound) out of the logits that are compared; a scale that the teacher's own loss had
    belongs to its logits.

Treat automatically
    In part: the student is retrained at the temperature that softens this teacher. A bound has to go from the model.

Read more
    Sun et al. 2024, arXiv:2403.01427: logit standardisation.
"""

from kddoctor.probes.logit_gradient import LogitGradient
from kddoctor.probes.logit_scale import LogitScale
from kddoctor.probes.loop_teacher import LoopTeacher
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TargetSoftness, TeacherViews
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.harm import harm_of
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.optimisation.harm import behind
from kddoctor.rules.optimisation.way import as_little_as_usual, grown
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Distance, Factor, Nats, Pace, Share, Temperature
from kddoctor.rules.soft_targets.kept_back import HALF, unscaled
from kddoctor.rules.soft_targets.soft_targets_collapsed import COLLAPSED_ENTROPY, SOFTENS, WANTED
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "logit-scale"
#: Share of the student's logits at its bound; free students have 1 in 100 there.
AT_BOUND: Share = 0.3
#: Median margin of the student over its 99th percentile; free students were at 0.5 to 0.72, bounded ones above 0.88
#: (calibrated on digits). Without the mean over the rows free students were below 0.68, those that learned little below
#: 0.5, bounded ones mostly above 0.85.
AT_EDGE: Share = 0.85
#: Gradient in the parameters over that in the logits; 1 and more, where nothing lies between a bias and the logits.
ARRIVES: Factor = 0.5
#: Factor that the student's own objective wants its logits to be larger by, and the share of it that this removes. Free
#: students grow until the factor is 1 (spelling, photographs: 1.0 of 89 sound runs; while too few or too short steps
#: left it at 1.2 to 2.4, they still grew by 1.2 to 2.4).
WANTS: Factor = 2.0
WANTED_GAIN: Share = 0.1
#: Growth of the spread of the student's logits from a fifth of the way to its end, of logits that stand still.
STANDS: Factor = 1.1
#: KL to the teacher of the recorded student over that in its last steps, of the student that was trained, as it was
#: trained: others are held by what restored or resumed them, or by noise that only the training adds.
THE_SAME: Factor = 1.2
#: Pace above which the loss certainly still falls (KD502 has the same limit).
FALLING: Pace = 0.2
#: Accuracy from which a student answers by its input: one that says the same to everything is at its own edge. Below,
#: the mean over the rows is taken off, and it has to be better than one constant answer.
ANSWERS: Share = 0.5
#: What the student's own last layer shows, which a twin has as well.
OF_THE_STUDENT = ("arrives", "at_bound", "top_edge", "factor")
#: Student over teacher, below and above which scales differ (taxonomy).
SMALLER: Factor = 0.5
LARGER: Factor = 2.0
#: Rank correlation from which the order is right.
ORDER: Correlation = 0.2
#: Nats. In float32 the gradient of a cross-entropy is rounded to nothing at 17 nats, and a few steps go beyond that.
TRAINED_MARGIN: Nats = 50.0
#: Temperature that was meant to soften. Below it, it is the temperature that is at fault, which is KD301.
MEANT_TO_SOFTEN: Temperature = 1.5
#: Relative distance from one over the temperature within which logits were recorded after it; and the differences in
#: skill, and in how often classes are named, that samples of a teacher's rows leave.
BY_TEMPERATURE: Share = 0.1
AS_RIGHT: Share = 0.1
AS_OFTEN: Distance = 0.1


@rule(
    "KD305",
    name="logit-scale-mismatch",
    family="soft-targets",
    title="The scales of the logits cannot meet",
    stage=39,
    reads=(LogitScale, Manifest),
    uses=(
        *(Gaps, TargetSoftness, LogitGradient, LossForensics, LoopTeacher, TeacherViews, ScaleFit, StudentPath),
        *(RateSigns, Observations, SurestRows),
    ),
    masks=("KD102", "KD301", "KD401", "KD402", "KD501", "KD502", "KD503", "KD504", "KD604"),
)
def logit_scale_mismatch(
    scale: LogitScale,
    config: Manifest,
    held_out: Gaps | None,
    softness: TargetSoftness | None,
    gradient: LogitGradient | None,
    loss: LossForensics | None,
    loop: LoopTeacher | None = None,
    teacher: TeacherViews | None = None,
    fit: ScaleFit | None = None,
    path: StudentPath | None = None,
    signs: RateSigns | None = None,
    seen: Observations | None = None,
    surest: SurestRows | None = None,
) -> Finding:
    finding = Finding()
    if not distils(config):
        return finding
    if loop is not None and (times := _factor_in_loop(loop, config, teacher)) is not None:
        return _by_loop(loop, times, held_out)
    if surest is not None and held_out is not None and unscaled(surest, held_out):
        return _by_teacher(surest, held_out, softness)
    finding = _bounded(finding, scale, held_out)
    finding = _multiplied(finding, scale, gradient, loss)
    if loss is not None and loss.declared_holds and as_little_as_usual(config, seen):
        finding = _held(finding, scale, fit, path, signs)
    better = None
    if softness is not None:
        finding, better = _scaled(finding, scale, softness)
    if not any(e.supports for e in finding.evidence):
        return finding
    # A twin on labels alone has the same last layer: that it is no better excuses nothing.
    shared = any(e.measure in OF_THE_STUDENT for e in finding.supporting)
    harmless = behind(held_out) is False if shared else held_out is not None and harm_of(held_out).none
    if harmless:
        finding = finding.against(
            "example-gaps",
            "gained",
            None,
            "distilling gained on labels alone, or left the student as good as its teacher",
            weight=1.5,
        )
    said = finding.saying(
        "The logits of teacher and student live on scales that cannot meet.",
        where="the last layer of the student, or a scale on the teacher's logits",
        severity="note" if harmless else "warning",
    )
    if better is None:
        return said.prescribe("no bound on the logits that are distilled", automatic=False, safety="manual")
    return said.prescribe(f"temperature {better:g}", safety="careful", distillation__temperature=better)


def _bounded(finding: Finding, scale: LogitScale, held_out: Gaps | None) -> Finding:
    ordered = scale.rank_correlation is not None and scale.rank_correlation > ORDER
    text = (
        f"{scale.at_bound:.0%} of the student's logits stand at ±{scale.student_bound:.2g}, and their spread is "
        f"{scale.ratio:.2g} times the teacher's"
    )
    if scale.at_bound > AT_BOUND and scale.ratio < SMALLER and ordered and scale.both_ends:
        return finding.supported_by(
            PROBE,
            "at_bound",
            scale.at_bound,
            f"{text}; the order within rows agrees ({scale.rank_correlation:.2f})",
            threshold=AT_BOUND,
            origin="calibrated on digits",
            weight=6.5,
        )
    edge = _edge(scale, held_out)
    if edge > AT_EDGE and scale.ratio < SMALLER and ordered:
        return finding.supported_by(
            PROBE,
            "top_edge",
            edge,
            f"the median row's top logit lies {edge:.0%} of the way to where those of the surest rows end, "
            f"and the spread of the student's logits is {scale.ratio:.2g} times the teacher's; the order within rows "
            f"agrees ({scale.rank_correlation:.2f})",
            threshold=AT_EDGE,
            origin="calibrated on digits",
            grade=Grade.INTERVENTIONAL,
            weight=6.5,
        )
    if SMALLER < scale.ratio < LARGER and scale.teacher_margin < TRAINED_MARGIN:
        return finding.against(
            PROBE, "ratio", scale.ratio, text, threshold=SMALLER, origin="paper", group="ratio", weight=6.0
        )
    return finding


def _held(
    finding: Finding, scale: LogitScale, fit: ScaleFit | None, path: StudentPath | None, signs: RateSigns | None
) -> Finding:
    """Logits that stand still far below where their own objective is lowest, with nothing but the model to hold them.

    The scale of a free last layer is what gradient descent finds first. A loss that certainly still falls is that of a
    student that is slow in all it learns, and not held.
    """
    if signs is None or signs.pace_low > FALLING:
        return finding
    growth = None if path is None else grown(path)
    if fit is None or path is None or growth is None or not 1 / STANDS < growth < STANDS:
        return finding
    ordered = scale.rank_correlation is not None and scale.rank_correlation > ORDER
    wants = fit.factor >= WANTS and fit.gain >= WANTED_GAIN and scale.ratio < SMALLER
    same = 1 / THE_SAME < fit.kl / max(path.late("kl"), 1e-9) < THE_SAME
    if not (wants and ordered and same):
        return finding
    return finding.supported_by(
        "scale-fit",
        "factor",
        fit.factor,
        f"with logits {fit.factor:.2g} times as large its objective would be {fit.gain:.0%} lower, yet their spread "
        f"is {growth:.2f} times what it was at a fifth of the way, without dropout or weight decay to speak of",
        threshold=WANTS,
        origin="identity of a free last layer",
        weight=5.0,
        group="at_bound",
    )


def _edge(scale: LogitScale, held_out: Gaps | None) -> float:
    """How far the median row stands towards the end of all rows' margins; 0 for one answer to everything."""
    if held_out is None:
        return 0.0
    gaps = held_out.gaps
    if gaps.student_accuracy > ANSWERS:
        return max(scale.top_edge, scale.own_edge)
    if gaps.class_counts is None:
        return 0.0
    constant = float(gaps.class_counts.max() / gaps.class_counts.sum())
    better = gaps.student_accuracy - constant > noise_of_difference(standard_error(constant, gaps.n))
    return scale.own_edge if better else 0.0


def _multiplied(
    finding: Finding, scale: LogitScale, gradient: LogitGradient | None, loss: LossForensics | None
) -> Finding:
    """Logits that something small multiplies: their gradient reaches no parameter as long as it is."""
    verified = loss is not None and loss.declared_holds
    if gradient is None or not verified or gradient.arrives >= ARRIVES or scale.ratio >= SMALLER:
        return finding
    return finding.supported_by(
        "logit-gradient",
        "arrives",
        gradient.arrives,
        f"all of the student's parameters together get {gradient.arrives:.2g} times the gradient of its logits, of "
        f"which a bias alone gets the whole, and the spread of its logits is {scale.ratio:.2g} times the teacher's",
        threshold=ARRIVES,
        origin="identity of a last layer with a bias",
        grade=Grade.INTERVENTIONAL,
        weight=6.5,
    )


def _scaled(finding: Finding, scale: LogitScale, softness: TargetSoftness) -> tuple[Finding, float | None]:
    if softness.temperature < MEANT_TO_SOFTEN:
        return finding, None
    targets = softness.targets
    temperature = max(SOFTENS, softness.temperature)
    entropy = float(targets.entropy_ratio_median[softness.at(targets, temperature)])
    if scale.teacher_margin <= TRAINED_MARGIN or entropy >= COLLAPSED_ENTROPY:
        return finding, None
    finding = finding.supported_by(
        PROBE,
        "teacher_margin",
        scale.teacher_margin,
        f"the teacher's top logit lies {scale.teacher_margin:.3g} nats above the others (median)",
        threshold=TRAINED_MARGIN,
        origin="identity",
        weight=4.0,
    ).supported_by(
        "soft-targets",
        "entropy_ratio",
        entropy,
        f"at T = {temperature:g}, too, the median target has {entropy:.2%} of the largest possible entropy",
        threshold=COLLAPSED_ENTROPY,
        origin="paper",
    )
    return finding, _wanted(softness)


def _wanted(softness: TargetSoftness) -> float:
    """Temperature of the wanted entropy, which depends on logits over T only: what is beyond the grid is at its end."""
    targets = softness.targets
    best = int(abs(targets.entropy_ratio_median - WANTED).argmin())
    return float(round(float(targets.temperatures[best]), 2))


def _by_teacher(surest: SurestRows, held_out: Gaps, softness: TargetSoftness | None) -> Finding:
    """A teacher whose logits were made small; its student's may well be as small, or larger for the labels' sake."""
    finding = Finding().supported_by(
        "surest-rows",
        "confidence",
        surest.confidence,
        f"of the tenth of held-out rows that it is surest of, the teacher has {surest.right:.0%} right and is "
        f"{surest.confidence:.0%} sure, and its other logits are spread by {surest.relative_spread:.0%} of their "
        "distance to the top one: something has made all of them small",
        threshold=HALF * surest.right,
        origin="identity of a teacher that minimised a cross-entropy",
        weight=6.0,
    )
    said = finding.saying(
        "Something has made the teacher's logits small: it is right, and sure of nothing.",
        where="the last layer of the teacher, or a scale that its own loss had",
        severity="note" if harm_of(held_out).none else "warning",
    )
    if softness is None:
        return said.prescribe("the teacher's logits times its own scale", automatic=False, safety="manual")
    better = _wanted(softness)
    return said.prescribe(f"temperature {better:g}", safety="careful", distillation__temperature=better)


def _factor_in_loop(loop: LoopTeacher, config: Manifest, teacher: TeacherViews | None) -> float | None:
    """What the loop's logits are the teacher's own times, as right as they are without it; None where they are not.

    Nor where it is one over the temperature: then the record holds what the softmax was given.
    """
    if loop.multiple is None or teacher is None or teacher.in_loop is None:
        return None
    temperature = config.distillation.temperature or 1.0
    own = (teacher.own_train if loop.same_split else None) or teacher.own
    # On rows that it has learned a teacher is surer; by far less than this.
    least = LARGER if loop.same_split else LARGER**2
    far = not 1 / least < loop.multiple < least and abs(loop.multiple * temperature - 1) > BY_TEMPERATURE
    softened = loop.multiple < 1 or temperature >= MEANT_TO_SOFTEN
    if not (far and softened) or own is None:
        return None
    # A factor leaves each row's largest logit in its place; other inputs (KD108) do not.
    as_right = abs(own.skill - teacher.in_loop.skill) < AS_RIGHT
    as_often = teacher.in_loop.validity.histogram_l1 - own.validity.histogram_l1 < AS_OFTEN
    return loop.multiple if as_right and as_often else None


def _by_loop(loop: LoopTeacher, times: float, held_out: Gaps | None) -> Finding:
    finding = Finding().supported_by(
        "loop-teacher",
        "multiple",
        times,
        f"on {loop.rows} rows of the loop the teacher's logits are {times:.3g} times as large as its own at "
        "evaluation, large and small ones alike",
        threshold=LARGER,
        origin="taxonomy",
        grade=Grade.INTERVENTIONAL,
        weight=6.5,
    )
    harmless = held_out is not None and harm_of(held_out).none
    return finding.saying(
        f"The loop multiplies the teacher's logits by {times:.3g} before the loss sees them.",
        where="the training loop: what happens to the teacher's outputs before the loss",
        severity="note" if harmless else "warning",
    ).prescribe("take the teacher's logits as they are", treatment__pairing="online")
