"""The logged loss is right, and its gradient is a multiple that depends on how the work was split.

What it checks
    The norm of the gradient that the optimizer got against the norm that the recorded loss has, the norms of the
    distillation term's and of the hard-label term's own gradients against their closed forms, and the former's share in
    the total's gradient against its share in the total's value: whether one of these ratios is a constant other than 1,
    or, where the other term's is 1, far from it on every step. Where norms are those of the gradients in the student's
    parameters, whose closed form nobody knows: whether one term is several times as large beside the other as its
    gradient in the logits is, on every step. Where the distillation term's gradient is no multiple of its closed form:
    whether it is that of the first, the last or every k-th rows of the batch alone. And whether the gradient that the
    optimizer got grows over so many steps and then starts anew, as sums do.

Why it hurts
    With micro-batches that are summed the step is as many times too long; divided twice, it is that much too short.
    Where the gradients of all but one are lost, so is most of each batch.
    Where only one term is concerned, its weight is another one than the log says.

What it looks like
    The same loss curve at the start and another outcome whenever accumulation steps, devices or shards change.

Told apart from
    KD501, whose learning rate is wrong by itself. KD208 and KD201, which show in the value of the loss. KD111, where a
    gradient is zero. Clipping, which makes norms equal and never longer. Micro-batches averaged as they should be,
    whose ratio varies. A loss scale, which is a power of two in the hundreds and taken out again.

Fix
    - for micro in batch: loss(micro).backward()
    + for micro in batch: (loss(micro) * len(micro) / len(batch)).backward()
    Let one place divide, loop or trainer; compare gradients for 1, 4 and 8 accumulation steps in a test.

Treat automatically
    Yes: the student is retrained on whole batches, by the gradient of the recorded loss.

Read more
    Hugging Face blog 2024, "Fixing gradient accumulation". PyTorch documentation of DistributedDataParallel.
"""

import math

from kddoctor.probes.gradient_rhythm import GradientRhythm
from kddoctor.probes.gradient_scale import CONSTANT, Beside, GradientScale, Part, Ratio
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import Verdict, rule
from kddoctor.rules.settings import Factor, Nats, Share
from kddoctor.run.manifest import Manifest

PROBE = "gradient-scale"
#: A ratio this close to 1 is 1.
SAME = 0.01
#: Norms must vary by this much for a constant ratio to say more than that norms are alike.
VARIED: Share = 0.05
#: Powers of two from here on are loss scales.
LOSS_SCALE = 128.0
#: Variance of the gradient's length between the places of a rhythm over that within from which it has one. Without one
#: it stays below 5; what else hangs on the order of the batches came to 17 (calibrated on digits and movielens).
RHYTHM: Factor = 20.0
#: Share of the growth that added gradients have at least, and rank correlation of their norms with the number added,
#: where the measured means vary.
OF_GROWTH, ORDER = 0.9, 0.9
#: Smallest factor that counts: accumulation and devices multiply by whole numbers, and learning rates are no better
#: known than this.
SMALL: Factor = 1.5
#: Nats where one term's gradient in the student's logits differs, by no constant.
UNEVEN: Nats = 8.0
#: The two terms' gradients go through the same layers, and one of them may lie along what these pass on: by so much, at
#: the median of the steps, and on every one of them. Of 130 runs of four tasks without such a factor the largest came
#: to 5.4 and 3.9, with a factor of eight the smallest to 8.0 and 6.3 (calibrated).
BESIDE, BESIDE_EACH = 6.6, 5.0


@rule(
    "KD212",
    name="gradient-scale-by-parallelism",
    family="loss",
    title="The gradient is a multiple of the recorded loss's gradient",
    stage=35,
    reads=(Manifest,),
    uses=(GradientScale, GradientRhythm),
    masks=(
        "KD102",
        "KD208",
        "KD302",
        "KD402",
        "KD501",
        "KD502",
        "KD505",
    ),
)
def gradient_scale_by_parallelism(
    config: Manifest, scale: GradientScale | None, rhythm: GradientRhythm | None
) -> Verdict:
    if rhythm is not None and _added_up(rhythm):
        return _of_a_rhythm(rhythm)
    if scale is None:
        return NotExamined(*RECORD["GradientScale"])
    if scale.part is not None:
        return _of_a_part(scale.part)
    finding = Finding()
    # A loss scale multiplies every gradient: where one term's is right, another's power of two is none.
    scaled = not any(_as_recorded(found) for found in (scale.term, scale.labels))
    for found, measure, of in (
        (scale.parameters, "parameters", "the gradient that the optimizer got is"),
        (scale.term, "term", "the distillation term's gradient is"),
        (scale.weight, "weight", "the distillation term's share in the total's gradient is"),
        (scale.labels, "labels", "the hard-label term's gradient is"),
    ):
        other = {"term": scale.labels, "labels": scale.term}.get(measure)
        finding = _weighed(finding, found, measure, of, scaled=scaled, in_logits=_as_recorded(other))
    concerned = [e.value for e in finding.supporting if e.value is not None]
    times = concerned[0] if concerned else 1.0
    words = f"{times:.4g} times as long as" if times > 1 else f"{1 / max(times, 1e-9):.4g} times shorter than"
    # Adam divides by the gradient's own size: a factor on all of it changes next to nothing.
    harmless = (config.training.optimizer or "").lower().startswith("adam") and all(
        e.measure == "parameters" for e in finding.supporting
    )
    if not finding.evidence and scale.beside is not None:
        return _beside(finding, scale.beside)
    if finding.supporting:
        agreeing = tuple(e for e in finding.evidence if e.supports)
        finding = Finding(evidence=agreeing)
    return finding.saying(
        f"The gradient is {words} the recorded loss says.",
        where="the training loop: division of the loss among micro-batches or devices",
        severity="warning" if harmless else "error",
    ).prescribe("divide once, by the number of rows of the whole batch", loss__gradient="as recorded")


def _beside(finding: Finding, found: Beside) -> Finding:
    """Of norms in the parameters, which are no multiple of those in the logits."""
    longer = found.value > BESIDE and found.lowest > BESIDE_EACH
    shorter = found.value < 1 / BESIDE and found.highest < 1 / BESIDE_EACH
    if not longer and not shorter:
        return finding
    return (
        finding.supported_by(
            PROBE,
            "beside",
            found.value,
            f"beside the labels' the distillation term's gradient in the student's parameters is {found.value:.3g} "
            f"times what it is in its logits, {found.lowest:.3g} to {found.highest:.3g} times on {found.steps} steps, "
            "and both go through the same layers",
            threshold=BESIDE,
            origin="calibrated on four tasks",
            # How alike two terms' paths through the layers are is no identity.
            weight=5.0,
        )
        .saying(
            f"The distillation term's gradient is {'several times longer' if longer else 'several times shorter'} "
            "than the recorded loss says.",
            where="the training loop: division of the loss among micro-batches or devices",
        )
        .prescribe("divide once, by the number of rows of the whole batch", loss__gradient="as recorded")
    )


def _added_up(rhythm: GradientRhythm) -> bool:
    grows = rhythm.growth >= max(SMALL, OF_GROWTH * rhythm.least_growth)
    return rhythm.f > RHYTHM and grows and rhythm.order >= ORDER


def _of_a_rhythm(rhythm: GradientRhythm) -> Finding:
    return (
        Finding()
        .supported_by(
            "gradient-rhythm",
            "growth",
            rhythm.growth,
            f"the optimizer's gradient grows by {rhythm.growth:.2g} times over every {rhythm.period} steps and then "
            f"starts anew ({rhythm.rows} norms; {rhythm.f:.3g} times as much variance between the places of that "
            "rhythm as within)",
            threshold=OF_GROWTH * rhythm.least_growth,
            origin="identity",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
        .saying(
            f"Gradients add up over {rhythm.period} steps, and the optimizer takes a step with each sum.",
            where="the training loop: optimizer.step() or zero_grad() among micro-batches",
            severity="error",
        )
        .prescribe("zero_grad() after each step of the optimizer", loss__gradient="as recorded")
    )


def _of_a_part(part: Part) -> Finding:
    return (
        Finding()
        .supported_by(
            PROBE,
            "part",
            part.share,
            f"the distillation term's gradient is that of {part.text}, on each of {part.ratio.steps} steps, where the "
            "recorded loss is a mean over all of them",
            threshold=1.0,
            grade=Grade.PROOF,
        )
        .saying(
            f"Only a part of each batch has a gradient: {part.text}.",
            where="the training loop: zero_grad() among micro-batches, or gradients that devices do not share",
        )
        .prescribe("add up the gradients of the whole batch", loss__gradient="as recorded")
    )


def _as_recorded(found: Ratio | None) -> bool:
    return found is not None and abs(found.value - 1) < SAME and found.spread <= SAME


def _weighed(finding: Finding, found: Ratio | None, measure: str, of: str, *, scaled: bool, in_logits: bool) -> Finding:
    """in_logits: whether the other term's norm shows that these are norms in the logits, and none in the parameters."""
    if found is None or found.value <= 0:
        return finding
    size = max(found.value, 1 / found.value)
    if size < 1 + SAME:
        if found.spread > SAME:
            return finding
        return finding.against(
            PROBE,
            measure,
            found.value,
            f"{of} what the recorded loss says, on {found.steps} steps",
            threshold=1.0,
            grade=Grade.PROOF,
            group=measure,
        )
    if found.spread > CONSTANT and in_logits and _never_as_recorded(found):
        lowest, highest = sorted((found.value / (1 + found.spread), found.value * (1 + found.spread)))
        return finding.supported_by(
            PROBE,
            measure,
            found.value,
            f"{of} {found.value:.2g} times what the recorded loss says at the median of {found.steps} steps, and "
            f"within {lowest:.2g} to {highest:.2g} times on each: its rows do not count as they do in the loss",
            threshold=1 / SMALL if found.value < 1 else SMALL,
            grade=Grade.INTERVENTIONAL,
            weight=UNEVEN,
            group=measure,
        )
    if found.spread > CONSTANT or found.varied < VARIED or size < SMALL:
        return finding
    if scaled and _loss_scale(found.value):
        return finding
    return finding.supported_by(
        PROBE,
        measure,
        found.value,
        f"{of} {found.value:.4g} times what the recorded loss says, on each of {found.steps} steps",
        threshold=1.0,
        grade=Grade.PROOF,
        group=measure,
    )


def _never_as_recorded(found: Ratio) -> bool:
    """Whether the gradient is far from what it should be on every step, all of them on the same side."""
    return found.value * (1 + found.spread) < 1 / SMALL or found.value / (1 + found.spread) > SMALL


def _loss_scale(value: float) -> bool:
    """Whether a factor is a power of two in the hundreds, up to rounding."""
    size = max(value, 1 / value)
    power = 2.0 ** round(math.log2(size))
    return size >= LOSS_SCALE and abs(size / power - 1) < SAME
