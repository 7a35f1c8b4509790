"""The temperature is so high that the distillation term has hardly any gradient left.

What it checks
    Whether the targets at the run's temperature are close to uniform, and whether the distillation term, as it is
    written and without its weight, pulls ten times less at the student's logits than the hard-label term.

Why it hurts
    The gradient of the divergence falls with T². Without that factor a high temperature leaves the labels alone, and a
    small learning rate on top: alpha no longer says who teaches.

What it looks like
    The distillation loss is tiny and almost constant; the student is as good as, or worse than, one on labels alone.

Told apart from
    A high temperature with T², which is sound and is seen in the gradient. KD202, where T² was meant and is missing.
    KD201, which divides by the number of classes. KD205 and KD303, whose targets are flat at a low temperature too.

Fix
    - temperature: 60.0
    + temperature: 4.0
    + loss = alpha * T**2 * kl + (1 - alpha) * ce

Treat automatically
    Yes: the student is retrained at the temperature that gives the targets a medium entropy, with T².

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2.1.
"""

from kddoctor.probes.gradient_ratio import GradientRatio
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.measurements import Gaps, TargetSoftness
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import distils, same_objective
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Share
from kddoctor.rules.soft_targets.soft_targets_collapsed import WANTED
from kddoctor.run.manifest import Manifest

#: Entropy over its largest value from which targets are flat. A temperature that leaves less is not the reason.
FLAT: Share = 0.8
#: Gradient of the distillation term over that of the hard-label term below which it starves (taxonomy).
STARVING: Factor = 0.1
#: Pull of the weighted term over that of the weighted labels from which the teacher is heard.
LED: Factor = 0.5
#: Share of recorded steps at which that must hold.
MOST_STEPS: Share = 0.8


@rule(
    "KD302",
    name="temperature-too-high",
    family="soft-targets",
    title="The temperature leaves the distillation term without a gradient",
    stage=33,
    reads=(TargetSoftness, Manifest),
    uses=(GradientRatio, LossForensics, Gaps),
    masks=("KD208", "KD402", "KD502"),
)
def temperature_too_high(
    softness: TargetSoftness,
    config: Manifest,
    gradients: GradientRatio | None,
    loss: LossForensics | None,
    held_out: Gaps | None,
) -> Finding | NotExamined:
    finding = Finding()
    if not distils(config) or config.distillation.loss == "mse":
        return finding
    targets = softness.targets
    entropy = float(targets.entropy_ratio_mean[softness.at(targets, softness.temperature)])
    flat = f"at T = {softness.temperature:g} the targets have {entropy:.1%} of the largest possible entropy"
    if entropy < FLAT:
        return finding.against(
            "soft-targets", "entropy_ratio", entropy, flat, threshold=FLAT, origin="convention", weight=8.0
        )
    plain = float(targets.entropy_ratio_mean[softness.at(targets, 1.0)])
    if plain > FLAT:
        return finding.against(
            "soft-targets",
            "entropy_ratio_at_one",
            plain,
            f"without any temperature the teacher has {plain:.1%} of the largest possible entropy already",
            threshold=FLAT,
            origin="convention",
            weight=8.0,
        )
    if gradients is None:
        return NotExamined(*RECORD["LossForensics"])
    pull = (
        f"without its weight the distillation term pulls {gradients.median:.2g} times as strongly at the student's "
        "logits as the labels (median over the steps)"
    )
    alpha = config.distillation.alpha
    if alpha is not None and alpha != 1 and gradients.median * alpha > LED * (1 - alpha):
        # A weight that makes up for the missing factor.
        return finding.against(
            "term-gradients",
            "weighted_ratio",
            gradients.median * alpha / (1 - alpha),
            f"{pull}; with alpha = {alpha:.3g} that is {gradients.median * alpha / (1 - alpha):.2g} times theirs",
            threshold=LED,
            origin="convention",
            weight=8.0,
        )
    if gradients.below(STARVING) < MOST_STEPS:
        return finding.against(
            "term-gradients",
            "ratio",
            gradients.median,
            pull,
            threshold=STARVING,
            origin="paper",
            grade=Grade.PROOF,
        )
    if config.distillation.temperature_squared or _not_as_declared(loss, config):
        # With T² the gradient tends to (z_S - z_T) / C and hangs on T no more: then it is small for another reason. A
        # factor that the loop forgot starves the term as well, and has a code of its own.
        return finding
    finding = finding.supported_by(
        "soft-targets", "entropy_ratio", entropy, flat, threshold=FLAT, origin="convention", weight=2.0
    ).supported_by("term-gradients", "ratio", gradients.median, pull, threshold=STARVING, origin="paper", weight=4.0)
    gained = held_out is not None and held_out.surely_gained
    if gained:
        finding = finding.against(
            "example-gaps", "gained", None, "distilling gained on labels alone nevertheless", weight=3.0
        )
    better = float(round(float(targets.temperatures[abs(targets.entropy_ratio_median - WANTED).argmin()]), 2))
    return finding.saying(
        f"At T = {softness.temperature:g} the distillation term has hardly any gradient.",
        where="kd_run.yaml: distillation.temperature",
        severity="note" if gained else "warning",
    ).prescribe(
        f"temperature {better:g} with the T² factor",
        safety="careful",
        distillation__temperature=better,
        distillation__temperature_squared=True,
    )


def _not_as_declared(loss: LossForensics | None, config: Manifest) -> bool:
    return loss is not None and loss.declared_differs and not same_objective(loss, config)
