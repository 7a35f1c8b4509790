"""Only some of the classes are kept in a row, and what is left is no distribution of the teacher's.

What it checks
    Whether, in the loop, all of the teacher's logits but a few are one number in each row, where at evaluation they are
    not. Otherwise whether the recorded loss is, on every step, the divergence over k classes alone, the teacher's
    largest, the student's, or the first of the list: renormalised, with the rest ignored (and perhaps clamped at zero),
    with zeros, or the least logit kept, in place of those left out, or with the rest spread evenly over these. k may be
    the same for all rows or follow from a share of the probability.

Why it hurts
    Renormalised targets are more certain than the teacher. A sum that stops early falls below zero, where clamping it
    takes the gradient away. Of classes that the student itself does not name it never hears. Zeros in place of logits
    can beat the classes that were kept.

What it looks like
    The loss dips below zero or sits at zero, the student is over-confident and badly calibrated, and a larger k helps.

Told apart from
    KD203, whose loss is negative on all rows and over all classes. A tail bucket, which counts what is left out as one
    class, is sound. A list that holds nearly all of the probability is worth a note only, and so is one of targets that
    hardly differ from the teacher's, since all other classes share what it gave them.

Fix
    - loss = kl(student[top], softmax(teacher[top]))
    + p = softmax(teacher)[top]; q = softmax(student)[top]
    + loss = kl(cat(p, 1 - p.sum()), cat(q, 1 - q.sum()))      # one more class for the rest
    Or a longer list, or classes drawn with the teacher's probabilities.

Treat automatically
    Yes, where the teacher can be run: the student is retrained on all of its classes.

Read more
    Anshumann et al. 2025, arXiv:2503.16870, on the bias of top-k and on sampling instead.
"""

from kddoctor.probes.loop_teacher import LoopTeacher
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.probes.truncated_teacher import OWNERS, ROUNDING, SOUND_FORMS, Truncation
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import as_declared, distils, excluded
from kddoctor.rules.pipeline.wrong_tensor_distilled import UNRELATED
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Correlation, Factor, Nats, Share
from kddoctor.run.manifest import Manifest

PROBE = "truncated-teacher"
#: Times by which the whole teacher has to fit worse: then the list was cut, and not merely long.
WORSE: Factor = 20.0
#: Probability that a list has to keep for its bias to be worth a note only (taxonomy).
ENOUGH_MASS: Share = 0.95
#: Correlation of such targets with the teacher's own logits, and KL to these at T = 1 in nats, from which the rest has
#: about what the teacher gave it on the whole: a fifth of the variance is missing at most (convention).
SPREAD: Correlation = 0.9
LITTLE: Nats = 0.01
#: Shares of rows in which most classes have the same logit: of a list that was filled up, and of free outputs.
FILLED: Share = 0.95
FREE: Share = 0.05


@rule(
    "KD306",
    name="topk-truncation-bias",
    family="soft-targets",
    title="Only the teacher's most probable classes are kept",
    stage=31,
    reads=(LossForensics, Manifest),
    uses=(Truncation, LoopTeacher, TargetsInLoop),
    masks=("KD208", "KD301", "KD402", "KD502"),
)
def topk_truncation_bias(
    loss: LossForensics,
    config: Manifest,
    cut: Truncation | None,
    loop: LoopTeacher | None = None,
    targets: TargetsInLoop | None = None,
) -> Finding:
    if distils(config) and loop is not None and _is_filled(loop) and not _of_another_tensor(targets):
        return _filled(loop, targets)
    finding = as_declared(Finding(), loss)
    if not distils(config):
        return finding
    if cut is None or cut.error > loss.tolerance or cut.whole_error < WORSE * max(cut.error, ROUNDING):
        return excluded(finding, loss)
    text = f"recorded = {cut.form} over {OWNERS[cut.chooser]} {cut.kept} at T = {cut.temperature:g}"
    if cut.form in SOUND_FORMS:
        return finding.against(
            PROBE,
            "error",
            cut.error,
            f"{text}, which counts the rest as one class, on all {cut.steps} steps",
            threshold=loss.tolerance,
            grade=Grade.PROOF,
        )
    finding = finding.supported_by(
        PROBE,
        "error",
        cut.error,
        f"{text}, on every one of {cut.steps} steps",
        threshold=loss.tolerance,
        grade=Grade.PROOF,
    ).supported_by(
        PROBE,
        "kept_mass",
        cut.kept_mass,
        f"these classes hold {cut.kept_mass:.1%} of the teacher's probability; on {cut.negative_rows:.0%} of the rows "
        "their sum alone is below zero",
        threshold=ENOUGH_MASS,
        origin="paper",
        weight=1.0,
    )
    harmless = cut.kept_mass >= ENOUGH_MASS and not cut.form.endswith("-filled")
    return finding.saying(
        f"The loss sees {OWNERS[cut.chooser]} {cut.kept} alone: {cut.form}.",
        where="the training loop: how the teacher's outputs are shortened",
        severity="note" if harmless else "error",
    ).prescribe("all of the teacher's classes, or one more class for the rest", loss__form="declared")


def _is_filled(loop: LoopTeacher) -> bool:
    """Whether most classes of a row are one number; one class alone is an answer that was drawn, and no list."""
    return loop.levelled >= FILLED and loop.own_levelled <= FREE and loop.kept > 1


def _as_spread(targets: TargetsInLoop | None) -> bool:
    """Whether the other classes have about what the teacher gave them on the whole.

    At high temperatures a student learns centred logits (Hinton et al. 2015, section 2.1), at 1 the probabilities.
    """
    return targets is not None and targets.correlation >= SPREAD and targets.divergence <= LITTLE


def _of_another_tensor(targets: TargetsInLoop | None) -> bool:
    """Whether what is left has nothing to do with the teacher's logits: units that a ReLU shut are level as well."""
    return targets is not None and targets.correlation <= UNRELATED


def _filled(loop: LoopTeacher, targets: TargetsInLoop | None) -> Finding:
    """The list was cut before the loss saw it, which then is the declared one over what is left."""
    finding = (
        Finding()
        .supported_by(
            "loop-teacher",
            "levelled",
            loop.levelled,
            f"in {loop.levelled:.0%} of {loop.rows} rows of the loop all of the teacher's logits but {loop.kept} "
            f"(median) are one and the same number; at evaluation in {loop.own_levelled:.0%}",
            threshold=FILLED,
            origin="identity",
            grade=Grade.PROOF,
        )
        .supported_by(
            "loop-teacher",
            "kept_mass",
            loop.kept_mass,
            f"its {loop.kept} largest hold {loop.kept_mass:.1%} of the probability",
            threshold=ENOUGH_MASS,
            origin="paper",
            weight=1.0,
        )
    )
    return finding.saying(
        f"The loss sees the teacher's largest {loop.kept} alone; all other classes have one logit.",
        where="the training loop: how the teacher's outputs are shortened",
        severity="note" if loop.kept_mass >= ENOUGH_MASS or _as_spread(targets) else "error",
    ).prescribe("all of the teacher's classes, or one more class for the rest", treatment__pairing="online")
