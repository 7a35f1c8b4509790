"""The distillation term is divided by the number of classes.

What it checks
    Whether the recorded distillation loss is the divergence averaged over batch *and* classes, which is what
    ``kl_div(..., reduction="mean")`` returns. Where a part of each batch's rows was recorded, the factor is read from
    the means over all steps, up to chance.

Why it hurts
    The term is C times too weak. With alpha 0.9 the teacher keeps 47 % of the weight with 10 classes, 8 % with
    100 and 0.9 % with 1,000, where 90 % were meant.

What it looks like
    The student is no better than one trained on labels alone, and neither alpha nor the temperature seems to
    matter. People compensate with huge temperatures or weights.

Told apart from
    KD202, whose factor is T² and not C: where T² = C one run cannot separate them. KD208, a constant that neither
    explains. KD401, which this fault imitates.

Fix
    - F.kl_div(log_p_student, p_teacher)
    + F.kl_div(log_p_student, p_teacher, reduction="batchmean")

Treat automatically
    Yes: the student is retrained with the mean over the batch.

Read more
    PyTorch documentation of KLDivLoss, note on reduction. Hinton et al. 2015, arXiv:1503.02531.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.rules.finding import Finding
from kddoctor.rules.loss.declared import ambiguous_factor, as_declared, distils, excluded, lacking_in_part, reproduced
from kddoctor.rules.loss.strength import lacking_in_total
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest


@rule(
    "KD201",
    name="kl-mean-reduction",
    family="loss",
    title="The distillation loss is averaged over classes as well as over the batch",
    stage=30,
    reads=(LossForensics, Manifest),
    masks=(
        "KD102",
        "KD208",
        "KD301",
        "KD302",
        "KD402",
        "KD502",
    ),
)
def kl_mean_reduction(loss: LossForensics, config: Manifest) -> Finding:
    in_total = lacking_in_total(loss, config, "C")
    if in_total is not None:
        return _said(in_total, loss)
    in_part = lacking_in_part(loss, config, "C")
    if in_part is not None:
        return _said(in_part, loss) if in_part.evidence[0].supports else in_part
    finding = as_declared(Finding(), loss)
    term = loss.term
    if loss.whole_as_declared:
        return finding
    if term is None or not distils(config) or not term.explanations:
        return finding
    averaged = [e for e in term.explanations if e.reduction == "mean"]
    if not averaged:
        return excluded(finding, loss)
    finding = reproduced(finding, loss, f"recorded = {term.form.describe()} / {loss.classes} classes")
    if len(averaged) < len(term.explanations):
        finding = ambiguous_factor(finding, loss, "T² = C here, so a missing T² gives the same number")
    return _said(finding, loss)


def _said(finding: Finding, loss: LossForensics) -> Finding:
    return finding.saying(
        f"The distillation loss is {loss.classes} times too weak: it is averaged over the classes.",
        where="the training loop: reduction of the divergence",
    ).prescribe('reduction="batchmean" in the divergence', loss__reduction="batchmean")
