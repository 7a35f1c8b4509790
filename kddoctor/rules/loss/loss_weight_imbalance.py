"""One loss term drowns the other.

What it checks
    The effective strength of the distillation term relative to the hard-label term, against the declared one, also
    where it moves along the run, and where it jumps from step to step: there each term's share in the total's gradient
    has it. And the term's share of the gradient at the student's logits, whether the declared weight itself leaves the
    teacher next to nothing to say, and whether a feature term outweighs all others, in a student that stays behind.

Why it hurts
    A term a hundred times too strong wipes out the task; one a hundred times too weak does nothing. Typical origins:
    a sum where a mean was meant, a feature loss over thousands of elements, a weight copied from another set-up.

What it looks like
    The task metric collapses as soon as distillation starts, or alpha has no effect.

Told apart from
    KD201 and KD202, whose factors are exactly C and a power of T. KD207, where the two weights are exchanged. A fault
    of the teacher, which no rescaling mends. A ramp that is over early, which leaves most of the run as declared. A
    small weight that was chosen for a weak teacher, or that was enough: then nothing was lost.

Fix
    - loss = ce + 1000 * kd
    + loss = alpha * T**2 * kl_batchmean + (1 - alpha) * ce

Treat automatically
    Yes: the student is retrained with the declared loss and weights.

Read more
    Heo et al. 2019 (feature losses need weights from 1e-3 to 1e-5). Hinton et al. 2015, section 2.
"""

import numpy as np

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.loss_schedule import LossSchedule
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.term_gradients import TermGradients
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.harm import harm_of, weighed_by_harm
from kddoctor.rules.loss.declared import PROBE, as_declared, distils, excluded, named_elsewhere
from kddoctor.rules.loss.drawn import Drawn, drawn_terms
from kddoctor.rules.loss.moving_factor import loses_t_squared, strength_on_average
from kddoctor.rules.loss.strength import named_strength, strength_against_declared
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Share
from kddoctor.run.manifest import Manifest

#: A relative strength this many times off the declared one is an imbalance; less is KD211. Convention: below a
#: factor of five, alpha 0.9 still leaves the stronger term the stronger one.
IMBALANCE: Factor = 5.0
#: Share of the gradient below which a term is inert, and above which it leaves nothing to the other (taxonomy:
#: gradient ratios of 0.05 and of 10).
INERT: Share = 0.05
DOMINANT: Share = 10 / 11
#: Weight of the distillation term that textbooks give it where the labels are to say little (Hinton et al. 2015).
USUAL_ALPHA: Share = 0.9
#: Nats against such a weight where nothing was lost, and for it where a twin shows that something was.
WAS_ENOUGH, LACKED = 6.0, 1.5
#: Share of the gap between labels alone and the teacher that a student has closed for which it was enough.
ENOUGH: Share = 0.5
#: Relative rest that both terms' gradients may leave of the total's where weights are read from it: float32.
RESIDUAL: Share = 1e-3
#: Share of recorded steps at which that must hold.
MOST_STEPS: Share = 0.8


@rule(
    "KD208",
    name="loss-weight-imbalance",
    family="loss",
    title="One loss term drowns the other",
    stage=34,
    reads=(LossForensics, Manifest),
    uses=(Gaps, LossMistakes, LossSchedule, TermGradients),
    masks=(
        "KD102",
        "KD402",
        "KD501",
        "KD502",
        "KD504",
        "KD505",
    ),
)
def loss_weight_imbalance(
    loss: LossForensics,
    config: Manifest,
    held_out: Gaps | None,
    mistakes: LossMistakes | None,
    schedule: LossSchedule | None = None,
    gradients: TermGradients | None = None,
) -> Finding:
    finding = Finding()
    if not distils(config) or named_elsewhere(mistakes, config, loss):
        return finding
    meant = declared_strength(config)
    if meant is not None and meant < INERT and _runs_as_declared(loss) and held_out is not None:
        return _of_the_declaration(finding, meant, config, held_out)
    if schedule is not None and config.distillation.loss == "jsd" and schedule.what == "factor inside the term":
        return finding  # a factor for each step is what a moving beta leaves, too: KD210
    drawn = drawn_terms(schedule)
    if drawn is not None:
        return _of_draws(finding, drawn, config)
    if schedule is not None:
        return _by_schedule(finding, schedule, config)
    if loss.mix is None and gradients is not None:
        return _by_weights(finding, loss, config, gradients)
    strength = strength_against_declared(loss, config)
    if named_strength(strength, loss, config):
        return finding  # KD201 or KD202, in the total rather than in the term
    if strength is not None and not 1 / IMBALANCE < strength < IMBALANCE:
        times = f"{strength:.3g} times too strong" if strength > 1 else f"{1 / strength:.3g} times too weak"
        finding = finding.supported_by(
            PROBE,
            "relative_strength",
            strength,
            f"the distillation term is {times} against the labels, by a constant that neither C nor T² explains",
            threshold=IMBALANCE,
            origin="convention",
            grade=Grade.PROOF,
        )
    elif strength is not None or loss.whole_as_declared:
        finding = excluded(as_declared(finding, loss), loss)
    return _by_size(finding, loss, held_out)


def declared_strength(config: Manifest) -> float | None:
    """Weight of the distillation term over that of the labels, as declared, for terms of the usual size.

    Without T² the term's gradient is smaller by that (Hinton et al. 2015, section 2). None where labels have no part.
    """
    meant = config.distillation
    if meant.alpha is None or not 0 < meant.alpha < 1:
        return None
    squared = meant.temperature_squared or meant.temperature is None or meant.loss == "mse"
    return meant.alpha / (1 - meant.alpha) / (1.0 if squared else max(1.0, meant.temperature or 1.0) ** 2)


def _runs_as_declared(loss: LossForensics) -> bool:
    return bool(loss.declared_errors is not None and loss.declared_holds) or loss.whole_as_declared


def _of_the_declaration(finding: Finding, strength: float, config: Manifest, held_out: Gaps) -> Finding:
    """The loss is what was declared, and that is a student that hardly hears its teacher."""
    finding = finding.supported_by(
        "manifest",
        "alpha",
        config.distillation.alpha,
        f"as declared, alpha = {config.distillation.alpha:g}, the labels have {1 / strength:.3g} times the weight of "
        "the teacher",
        threshold=INERT,
        origin="paper",
        weight=4.5,
    )
    # The weight is there for all to see: what decides is whether it was enough.
    finding, _ = weighed_by_harm(finding, held_out, excused=WAS_ENOUGH, blamed=LACKED)
    return finding.saying(
        "The declared weight of the teacher is so small that the student hardly hears it.",
        where="kd_run.yaml: distillation.alpha",
        severity="warning",
    ).prescribe("a weight at which the teacher is heard", safety="careful", distillation__alpha=USUAL_ALPHA)


def _of_draws(finding: Finding, drawn: Drawn, config: Manifest) -> Finding:
    """One term at each step, by chance: its share stands for the weight."""
    alpha = config.distillation.alpha
    if alpha is None or not 0 < alpha < 1 or drawn.may_be(alpha) or drawn.may_be(1 - alpha):
        return finding
    odds = drawn.teacher / (drawn.steps - drawn.teacher)
    strength = odds * (1 - alpha) / alpha
    if 1 / IMBALANCE < strength < IMBALANCE:
        return finding
    return (
        finding.supported_by(
            PROBE,
            "drawn",
            strength,
            f"{drawn.text}, {strength:.3g} times the declared balance",
            threshold=IMBALANCE,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        .saying("The terms are not drawn with the chances that were declared.", where="the training loop: the draw")
        .prescribe("declared weights", loss__weights="declared")
    )


def _by_schedule(finding: Finding, schedule: LossSchedule, config: Manifest) -> Finding:
    """A weight that moves, as ramps and decays do, and is far from the declared one over the run as a whole."""
    mean = strength_on_average(schedule, config)
    if loses_t_squared(schedule, config):
        return finding.against(
            "loss-schedule", "mean_strength", mean, "what moves is the term's T², and no weight", weight=12.0
        )
    course = f"moves steadily from {schedule.first:.3g} to {schedule.last:.3g} times the declared strength"
    if 1 / IMBALANCE < mean < IMBALANCE:
        return finding.against(
            "loss-schedule",
            "mean_strength",
            mean,
            f"the distillation term {course}, and is at {mean:.2g} of it on average",
            threshold=IMBALANCE,
            origin="convention",
            weight=4.0,
        )
    size = f"{mean:.2g}" if mean < 1 else f"{mean:.3g}"
    return (
        finding.supported_by(
            "loss-schedule",
            "mean_strength",
            mean,
            f"the {schedule.what} of the distillation term {course}, on {len(schedule.step)} steps; on average it is "
            f"{size} times as strong as declared",
            threshold=IMBALANCE,
            origin="convention",
            grade=Grade.PROOF,
        )
        .saying(
            "The weight of a loss term moves, and over the run as a whole it is far from what was declared.",
            where="the training loop: schedule of the loss weights",
            severity="error",
        )
        .prescribe("declared weights from the start, or a ramp that ends early in the run", loss__weights="declared")
    )


def _by_weights(finding: Finding, loss: LossForensics, config: Manifest, gradients: TermGradients) -> Finding:
    """Of the declared term in a total that no fixed weights explain: the weights that each step's gradients have."""
    alpha, declared = config.distillation.alpha, loss.kd_recorded and loss.declared_holds
    kd, ce = gradients.kd_weight, gradients.ce_weight
    if not declared or not alpha or alpha == 1 or not kd or not ce or gradients.residual > RESIDUAL:
        return finding
    strength = kd / ce * (1 - alpha) / alpha
    if 1 / IMBALANCE < strength < IMBALANCE or max(abs(kd - 1), abs(ce - 1)) < RESIDUAL:
        return finding  # as declared, or weights that stand in the terms
    return (
        finding.supported_by(
            "term-gradients",
            "relative_strength",
            strength,
            f"at the median of {gradients.steps} steps the total's gradient holds {kd:.3g} x that of the distillation "
            f"term and {ce:.3g} x that of the labels: {strength:.3g} times the declared balance",
            threshold=IMBALANCE,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        .saying(
            "The weights of the loss terms change from step to step, and are far from what was declared.",
            where="the training loop: weights of the loss terms",
            severity="error",
        )
        .prescribe("declared weights", loss__weights="declared")
    )


def _by_size(finding: Finding, loss: LossForensics, held_out: Gaps | None) -> Finding:
    """What the terms come to, whatever their weights are."""
    proven = any(e.grade is Grade.PROOF for e in finding.supporting)
    if not proven and (loss.feature_share or 0.0) >= DOMINANT:
        # The balance of the other two says nothing of a third that outweighs both.
        return _by_feature_term(Finding(), loss, held_out)
    return (
        _by_gradient(finding, loss, held_out)
        .saying(
            "The loss terms are far from the balance that was declared."
            if proven
            else "One loss term has almost all of the gradient.",
            where="the training loop: weights of the loss terms",
            severity="error" if proven else "warning",
        )
        .prescribe("declared weights, mean over the batch", loss__weights="declared", loss__reduction="batchmean")
    )


def _by_gradient(finding: Finding, loss: LossForensics, held_out: Gaps | None) -> Finding:
    share = loss.kd_share
    if share is None or loss.mix is None or loss.mix.kd_weight == 0:
        return finding
    middle = float(np.median(share))
    if float((share < INERT).mean()) >= MOST_STEPS:
        return finding.supported_by(
            PROBE,
            "gradient_share",
            middle,
            f"the teacher's term has {middle:.1%} of the gradient at the student's logits",
            threshold=INERT,
            origin="paper",
            group="gradient",
            weight=4.5,
        )
    worse = held_out is not None and held_out.baseline_accuracy is not None
    if worse and float((share > DOMINANT).mean()) >= MOST_STEPS:
        assert held_out is not None
        assert held_out.baseline_accuracy is not None
        loss_of = held_out.baseline_accuracy - held_out.gaps.student_accuracy
        error = (0.5 / held_out.gaps.n) ** 0.5
        if loss_of > 3 * error and loss.mix.ce_weight != 0:
            return finding.supported_by(
                PROBE,
                "gradient_share",
                middle,
                f"the labels' term has {1 - middle:.1%} of the gradient, and the student is below labels-only",
                threshold=DOMINANT,
                origin="paper",
                group="gradient",
            )
    if INERT < middle < DOMINANT:
        return finding.against(
            PROBE,
            "gradient_share",
            middle,
            f"the teacher's term has {middle:.0%} of the gradient at the student's logits",
            threshold=INERT,
            origin="paper",
            group="gradient",
        )
    return finding


def _by_feature_term(finding: Finding, loss: LossForensics, held_out: Gaps | None) -> Finding:
    finding = (
        finding.supported_by(
            PROBE,
            "feature_share",
            loss.feature_share,
            f"the feature term makes up {loss.feature_share:.1%} of the total",
            threshold=DOMINANT,
            origin="paper",
            weight=5.0,
        )
        .saying(
            "The feature term outweighs all others.",
            where="the training loop: weight of the feature term",
            severity="warning",
        )
        .prescribe(
            "a weight that leaves the other terms their part; until one is found, no feature term",
            treatment__feature_term="off",
        )
    )
    closed = 0.0 if held_out is None else _closed(held_out)
    if closed < ENOUGH:
        return finding
    return finding.against(
        "example-gaps",
        "closed",
        closed,
        f"distilling closed {closed:.0%} of the gap that labels alone leave to the teacher, or left none",
        threshold=ENOUGH,
        origin="convention",
        weight=WAS_ENOUGH,
    )


def _closed(held_out: Gaps) -> float:
    """Share of the gap between labels alone and the teacher that distilling closed; 1 where the student has none."""
    harm = harm_of(held_out)
    if not harm.clearly_behind:
        return 1.0
    gained = (harm.gained or 0.0) if harm.clearly else 0.0
    return gained / (gained + harm.behind)
