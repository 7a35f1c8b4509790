"""Regularisation that was tuned for hard labels keeps the student from its targets.

What it checks
    On training rows, once the loss is level at a rate that was not yet wound down (or does not fall for certain, while
    held-out quality stands): whether the student's own objective would fall if all its logits were larger, and by more
    than it certainly still falls in each schedule, which an objective without a penalty cannot do where it is level;
    and whether the student is much closer to its teacher in evaluation mode than it was in training, or chooses as its
    teacher does far more often. Where that is more than twice as often and the loss slows down, it need not be level;
    nor where the optimizer's weight decay is ten times what anybody uses.

Why it hurts
    Soft targets are a regulariser themselves. What dropout or weight decay takes away on top of them is fit.

What it looks like
    Training and held-out metrics are both low, and the loss is level.

Told apart from
    KD402, whose logits have the right scale. KD502, whose loss still falls. Augmentation that makes training rows
    harder, which the teacher feels as well. A loss that is not the declared one, whose scale says nothing.

Fix
    - Dropout(0.5), weight_decay=0.1
    + Dropout(0.0), weight_decay=0.0
    No label smoothing on the labels' term either.

Treat automatically
    Yes: the student is retrained without dropout and weight decay.

Read more
    Sanh et al. 2019, arXiv:1910.01108. TRL's distillation trainers disable dropout by default.
"""

import math

from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TeacherViews
from kddoctor.probes.proportions import SURE, standard_error
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.optimisation.harm import OTHERS, severity, skill_lost
from kddoctor.rules.optimisation.way import (
    SET_BACK,
    against_another,
    against_come_back,
    against_set_back,
    decays_apart,
    weight_decay,
)
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Factor, Nats, Pace, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "scale-fit"
#: Factor on the logits, and share of the objective that it removes; of sound runs at most 1.09 and 0.02 (digits,
#: movielens, language), on a grid of 1, 1.19, 1.41, …
LARGER: Factor = 1.3
GAIN: Share = 0.04
#: Factor of logits that have the right scale.
RIGHT: Factor = 1.1
#: That gain as a share of the first loss: one-hot targets are never reached, and always ask for larger logits.
OF_FIRST: Share = 0.01
#: Nats by which the labels are harder in training mode as well: noise of the teacher's leaves them as they are.
HARDER: Nats = 0.03
#: Divergence in training over that in evaluation mode (taxonomy: evaluation below 70 %).
IN_TRAINING: Factor = 1 / 0.7
#: Agreement with the teacher above chance in training, over that in evaluation mode (likewise).
LOST_IN_TRAINING: Share = 0.7
#: That share, below which no progress explains it: the student had most of its way behind it in its late steps.
HALF: Share = 0.5
#: Share of training rows with the teacher's answer in evaluation mode, of a student that nothing kept from its targets.
IMITATES: Share = 0.95
#: Rows of late steps for that ratio, and nats by which augmentation may make rows harder for the teacher.
ROWS: Count = 50
AUGMENTED: Nats = 0.1
#: Pace, as a multiple of the average, below which a loss is level.
LEVEL: Pace = 0.4
#: Pace below which a loss falls more slowly than it did.
SLOWING: Pace = 1.0
#: Pace from which most of the way was made in the last steps.
FASTER: Pace = 2.0
#: Dropout that is more than usual (0.1), and weight decay: convention.
DROPOUT: Share = 0.3
#: Dropout beyond which no small student learns well: large networks have half of their units dropped at most.
MOST: Share = 0.6
DECAY: Share = 0.01
#: Weight decay that no training wants: ten times what is used at most, decoupled (0.3) and in the gradient (0.005).
FAR_TOO_MUCH, FAR_IN_GRADIENT = 3.0, 0.05


@rule(
    "KD504",
    name="student-over-regularised",
    family="optimisation",
    title="Regularisation keeps the student from its targets",
    stage=51,
    reads=(ScaleFit, Manifest),
    uses=(StudentPath, RateSigns, LossForensics, Observations, Gaps, TeacherViews, LearningCurve),
    masks=("KD402", "KD502", "KD401"),
)
def student_over_regularised(
    fit: ScaleFit,
    config: Manifest,
    path: StudentPath | None,
    signs: RateSigns | None,
    loss: LossForensics | None,
    seen: Observations | None,
    held_out: Gaps | None,
    teacher: TeacherViews | None,
    curve: LearningCurve | None,
) -> Finding:
    finding = _of_targets(Finding(), teacher)
    verified = loss is not None and loss.declared_holds
    level = signs is not None and (signs.pace_high < LEVEL or _stands(signs, curve))
    text = (
        f"with logits {fit.factor:.2g} times as large its own objective on training rows would be {fit.gain:.0%} lower"
    )
    # A loss that falls by more in each schedule is on its way to these logits by itself.
    matters = signs is not None and fit.gain * signs.end > max(OF_FIRST, signs.pace_low * (1 - signs.end))
    if fit.factor > LARGER and fit.gain > GAIN and verified and matters:
        finding = finding.supported_by(
            PROBE, "factor", fit.factor, text, threshold=LARGER, origin="identity where the loss is level", weight=5.0,
        )  # fmt: skip
    elif fit.factor < RIGHT and verified:
        finding = finding.against(PROBE, "factor", fit.factor, text, threshold=RIGHT, weight=3.0, group="factor")
    slowing = signs is not None and signs.pace_high < SLOWING
    finding, kept = _of_modes(finding, fit, path, slowing=slowing)
    # A student that drops most of its units learns slowly for that very reason.
    if not level and not (slowing and kept < HALF) and not _drops_most(seen):
        finding = finding.against(
            "rate-signs",
            "pace",
            None if signs is None else signs.pace_high,
            "the training loss had not levelled before the rate was wound down",
            threshold=LEVEL,
            # Logits are small early on, too, and late steps are not the end; but a student that gets better steadily
            # had 7/8 of its way behind it in the last quarter. Where the decay alone explains them, they say nothing.
            # Of a student whose loss falls faster than ever, late steps are far behind the end.
            weight=2.0 if (kept < LOST_IN_TRAINING and not _speeds_up(signs)) or _far_too_much(config, seen) else 10.0,
        )
    finding = against_set_back(against_come_back(against_another(finding, path, fit), signs), signs)
    finding = _of_settings(finding, config, seen)
    return finding.saying(
        "Dropout or weight decay keeps the student from its soft targets.",
        where="the student's dropout, or kd_run.yaml: training.weight_decay",
        severity=severity(held_out, "warning"),
    ).prescribe("no dropout, no weight decay", treatment__dropout=0.0, training__weight_decay=0.0)


def _speeds_up(signs: RateSigns | None) -> bool:
    return signs is not None and signs.pace > FASTER


def _stands(signs: RateSigns, curve: LearningCurve | None) -> bool:
    """A loss that fell so little that its noise hides a pace, where held-out quality was measured and stands too.

    So it does where the weights are set back again and again: then the loss jumps up between epochs.
    """
    quality = None if curve is None else curve.quality
    still = signs.pace_low <= 0 and signs.pace < LEVEL
    kept = signs.set_back is not None and signs.set_back < SET_BACK
    return still and kept and quality is not None and quality.low <= 0 and quality.rise <= 0


def _of_targets(finding: Finding, teacher: TeacherViews | None) -> Finding:
    lost = skill_lost(teacher)
    if lost <= OTHERS:
        return finding
    return finding.against(
        "teacher-validity",
        "skill",
        lost,
        f"inside the loop the teacher lacks {lost:.0%} of its skill: the student had other targets than these",
        threshold=OTHERS,
        origin="convention",
        weight=6.0,
    )


def _of_modes(finding: Finding, fit: ScaleFit, path: StudentPath | None, *, slowing: bool) -> tuple[Finding, float]:
    """What training mode costs, on rows that are no harder for the teacher; and the share of the student's agreement
    (or of its closeness) that is left of it there, 1 where progress may explain what is missing.

    A loss that falls as exp(-kt) and is not level has k < 2.6: the mean of its last quarter is 1.4 times its end.
    """
    rows = 0 if path is None else path.late_rows
    if path is None or rows < ROWS or path.late("teacher_loss") > fit.teacher_loss + AUGMENTED:
        return finding, 1.0
    if fit.agreement >= IMITATES:
        return finding, 1.0  # dropout costs something in training mode; this is what it was switched on for
    harder = path.late("excess") + math.log(path.classes) - fit.hard_loss
    if harder <= HARDER:
        return finding, 1.0
    by_answers = _of_answers(finding, fit, path)
    if by_answers is not None:
        chance = 1 / path.classes
        return by_answers, max(0.0, path.late("agreement") - chance) / (fit.agreement - chance)
    ratio = path.late("kl") / max(fit.kl, 1e-9)
    if ratio <= IN_TRAINING:
        return finding, 1.0
    text = (
        f"KL to the teacher: {path.late('kl'):.3f} nats in training, {fit.kl:.3f} on training rows in evaluation mode"
    )
    return finding.supported_by(
        "student-path", "kl_ratio", ratio, text, threshold=IN_TRAINING, origin="taxonomy",
        grade=Grade.INTERVENTIONAL, weight=5.0,
    ), 1 / ratio if slowing and ratio > 1 / HALF else 1.0  # fmt: skip


def _of_answers(finding: Finding, fit: ScaleFit, path: StudentPath) -> Finding | None:
    """What dropout takes away from the student's choices shows where its logits are small, too."""
    chance = 1 / path.classes
    then, after = path.late("agreement"), fit.agreement
    noise = SURE * math.hypot(standard_error(then, path.late_rows), standard_error(after, fit.n))
    if then - chance >= LOST_IN_TRAINING * (after - chance) or after - then <= noise:
        return None
    return finding.supported_by(
        "student-path",
        "agreement_over_after",
        max(0.0, then - chance) / (after - chance),
        f"in training {then:.1%} of the student's choices are its teacher's, of training rows in evaluation mode "
        f"{after:.1%}",
        threshold=LOST_IN_TRAINING,
        origin="taxonomy",
        grade=Grade.INTERVENTIONAL,
        weight=5.0,
    )


def _of_settings(finding: Finding, config: Manifest, seen: Observations | None) -> Finding:
    dropout = None if seen is None else seen.student_dropout
    if dropout is not None and dropout > DROPOUT:
        finding = finding.supported_by(
            "observations", "student_dropout", dropout, f"the student drops up to {dropout:.0%} of its units",
            threshold=DROPOUT, origin="convention", weight=5.0 if _drops_most(seen) else 2.0, group="settings",
        )  # fmt: skip
    decay = weight_decay(config, seen)
    if _far_too_much(config, seen):
        return finding.supported_by(
            "observations", "weight_decay", decay, f"weight decay {decay:g}, ten times what is used at most",
            threshold=_far(config), origin="convention", weight=4.0, group="settings",
        )  # fmt: skip
    if decay is not None and decay > DECAY and config.training.optimizer != "adamw":
        finding = finding.supported_by(
            "manifest", "weight_decay", decay, f"weight decay {decay:g}", threshold=DECAY, origin="convention",
            weight=2.0, group="settings",
        )  # fmt: skip
    return finding


def _drops_most(seen: Observations | None) -> bool:
    return seen is not None and (seen.student_dropout or 0.0) >= MOST


def _far(config: Manifest) -> float:
    """Decay that no training wants, of this optimizer; of one that nobody named, none is."""
    if config.training.optimizer is None:
        return math.inf
    return FAR_TOO_MUCH if decays_apart(config) else FAR_IN_GRADIENT


def _far_too_much(config: Manifest, seen: Observations | None) -> bool:
    decay = weight_decay(config, seen)
    return decay is not None and decay >= _far(config)
