"""The loss is right on paper, and overflows, underflows or rounds to noise in floating point.

What it checks
    The first loss that is not finite: whether the logits there are finite and ordinary, and the same loss in float64 is
    too, or only the hard-label term is not. The first gradient that is not finite: whether its loss is an ordinary
    number. And whether the recorded divergence is the declared one plus noise of the size of half precision, or falls
    below zero.

Why it hurts
    One NaN ends the run. Noise in the place of a small divergence is a gradient that points nowhere.

What it looks like
    Training that goes well and is NaN at the next step; a divergence of −0.01 late in training.

Told apart from
    KD505, where the loss grows first, or the logits are infinite before it is. KD801, where no position counts.
    KD203, whose values are negative throughout and exact. KD306, whose sums stop early.

Fix
    - kl = (p_t * (p_t.half().log() - p_s.half().log())).sum()
    + kl = F.kl_div(F.log_softmax(s.float() / T, -1), F.log_softmax(t.float() / T, -1), log_target=True,
    +               reduction="batchmean")
    Guard the argument of a logarithm and not its result: where() keeps NaN out of a value and not of its gradient.

Treat automatically
    Yes: the student is retrained with log_softmax in float32.

Read more
    PyTorch documentation: numerical accuracy; torch.where and NaN gradients; ops that autocast to float32.
"""

from kddoctor.probes.learning_curve import LearningCurve
from kddoctor.probes.loss_numerics import LossNumerics
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Logits, Share

PROBE = "loss-numerics"
#: Logits beyond this, and losses that have grown so many times, are those of a run that diverges.
ORDINARY_LOGIT: Logits = 1e4
GROWN: Factor = 30.0
#: Rounding of half precision (bfloat16 has 8 bits, 2^-8), with room for a few operations. A term whose noise is larger
#: than that is another loss.
HALF_PRECISION = 2.0**-6
#: Share of the divergence that noise must make up at the median step to matter.
NOISY: Share = 0.1
#: Share of steps with a negative divergence that no exact sum gives.
NEGATIVE: Share = 0.05
#: Noise has both signs; another formula that comes close has one.
MIXED: Share = 0.15
#: Single precision leaves less than this.
SINGLE_PRECISION = 1e-5


@rule(
    "KD213",
    name="loss-numerics-unstable",
    family="loss",
    title="The loss breaks in floating point",
    stage=28,
    reads=(LossNumerics,),
    uses=(LearningCurve,),
    masks=("KD102", "KD208", "KD211", "KD402", "KD502", "KD505"),
)
def loss_numerics_unstable(numerics: LossNumerics, curve: LearningCurve | None = None) -> Finding:
    finding = _broken(numerics, curve)
    finding = _by_noise(finding, numerics) if not finding.supporting else finding
    return finding.saying(
        "The distillation loss is never finite: it breaks in floating point, or its formula is none for any numbers."
        if _never_finite(numerics)
        else "The distillation loss breaks in floating point, where the same formula in float64 does not.",
        where="the training loop: precision of softmax and logarithm",
        severity="error" if numerics.broken or numerics.gradient_broke else "warning",
    ).prescribe("log_softmax in float32 on both sides", loss__precision="float32")


def loss_broke_first(numerics: LossNumerics | None, curve: LearningCurve | None) -> bool:
    """Whether a loss or gradient was not finite while everything that it was computed from was ordinary."""
    return numerics is not None and bool(_broken(numerics, curve).supporting)


def _broken(numerics: LossNumerics, curve: LearningCurve | None) -> Finding:
    if curve is not None and curve.explosion > GROWN and numerics.broken:
        return Finding().against(
            "learning-curve",
            "explosion",
            curve.explosion,
            f"before it was no longer finite, the loss had grown to {curve.explosion:.2g} times its first value",
            threshold=GROWN,
            origin="convention",
            weight=6.0,
            group="broken",
        )
    return _by_gradient(_by_value(Finding(), numerics), numerics)


def _never_finite(numerics: LossNumerics) -> bool:
    return 0 < numerics.steps == numerics.broken


def _by_value(finding: Finding, numerics: LossNumerics) -> Finding:
    first = numerics.first
    if first is None or numerics.broken_without_rows:
        return finding
    calm = first.largest_logit < ORDINARY_LOGIT and first.finite_logits
    if calm and first.term is not False and first.exact == first.exact and abs(first.exact) < ORDINARY_LOGIT:
        # A formula that is no number for any logits breaks on every step as well: the logarithm of a logarithm, KD203.
        always = _never_finite(numerics)
        return finding.supported_by(
            PROBE,
            "first_broken",
            first.exact,
            f"at step {first.step} the loss is not finite, where the logits are (at most {first.largest_logit:.3g}) "
            f"and the declared divergence in float64 is {first.exact:.3g}"
            + (", nor at any other step, so that the formula may be none for any numbers (KD203)" if always else ""),
            grade=Grade.INTERVENTIONAL if always else Grade.PROOF,
            group="broken",
            weight=8.0 if always else None,
        )
    if calm and first.term is False:
        # A cross-entropy of ordinary logits is finite by its formula, whatever the label is.
        return finding.supported_by(
            PROBE,
            "first_broken",
            first.largest_logit,
            f"at step {first.step} the hard-label term is not finite, where the logits are (at most "
            f"{first.largest_logit:.3g}) and the distillation term is",
            grade=Grade.INTERVENTIONAL,
            group="broken",
            weight=8.0,
        )
    if not first.finite_logits and numerics.gradient_broke is None:
        return finding.against(
            PROBE,
            "first_broken",
            first.largest_logit,
            f"at step {first.step}, the first whose loss is not finite, the logits are not either",
            weight=6.0,
            group="broken",
        )
    return finding


def _by_gradient(finding: Finding, numerics: LossNumerics) -> Finding:
    broke = numerics.gradient_broke
    if broke is None or finding.supporting:
        return finding
    step, loss, before = broke
    if abs(loss) > GROWN * max(abs(before), 1.0):
        return finding
    return finding.supported_by(
        PROBE,
        "gradient_broke",
        loss,
        f"at step {step} the gradient is not finite, where the loss is {loss:.3g} and was {before:.3g} before",
        threshold=GROWN,
        origin="convention",
        grade=Grade.PROOF,
        weight=9.0,
        group="broken",
    )


def _by_noise(finding: Finding, numerics: LossNumerics) -> Finding:
    if not numerics.declared or numerics.noise != numerics.noise:
        return finding
    if numerics.noise > HALF_PRECISION:
        return finding
    if numerics.noise < SINGLE_PRECISION:
        if not numerics.broken:
            finding = finding.against(
                PROBE,
                "noise",
                numerics.noise,
                "the recorded divergence is the declared one in float64, up to the rounding of single precision",
                threshold=SINGLE_PRECISION,
                grade=Grade.PROOF,
                group="noise",
            )
        return finding
    if numerics.relative_noise < NOISY and numerics.negative < NEGATIVE:
        return finding
    below = numerics.negative >= NEGATIVE
    # Another formula that comes close is no noise: values of half precision show it, or signs that no divergence has.
    if not numerics.halves and (numerics.mixed < MIXED or not below):
        return finding
    finding = finding.supported_by(
        PROBE,
        "relative_noise",
        numerics.relative_noise,
        f"the recorded divergence is the declared one but for noise of {numerics.noise:.1g} of the entropies, as half "
        f"precision leaves it: {numerics.relative_noise:.0%} of the divergence",
        threshold=NOISY,
        origin="machine precision",
        grade=Grade.INTERVENTIONAL,
        weight=7.0 if numerics.halves else 3.0,
        group="noise",
    )
    if below:
        finding = finding.supported_by(
            PROBE,
            "negative",
            numerics.negative,
            f"{numerics.negative:.0%} of the recorded divergences are below 0, which none is",
            threshold=NEGATIVE,
            grade=Grade.INTERVENTIONAL,
            weight=2.0,
        )
    return finding
