"""The divergence is given probabilities where it expects log-probabilities.

What it checks
    Whether the recorded distillation loss equals Σ p (log p − q), which is what ``kl_div`` returns when its input
    is softmax instead of log_softmax.

Why it hurts
    The value is no divergence: it is always negative, bounded, and its gradient pushes the student towards a one-hot
    output at the teacher's top class instead of towards the teacher's distribution.

What it looks like
    A distillation loss below zero that changes slowly.

Told apart from
    KD306 (a few slightly negative rows from truncated targets) and KD213 (tiny negative values that vanish in
    float32).

Fix
    - F.kl_div(F.softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean")
    + F.kl_div(F.log_softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean")

Treat automatically
    Yes: the student is retrained with log_softmax on its side.

Read more
    PyTorch documentation of KLDivLoss: the input is expected in log-space.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.rules.finding import Finding
from kddoctor.rules.loss.declared import as_declared, distils, reproduced
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest


@rule(
    "KD203",
    name="kl-input-not-log",
    family="loss",
    title="The divergence gets probabilities instead of log-probabilities",
    stage=29,
    reads=(LossForensics, Manifest),
    masks=("KD208", "KD301", "KD402", "KD502", "KD102"),
)
def kl_input_not_log(loss: LossForensics, config: Manifest) -> Finding:
    finding = as_declared(Finding(), loss)
    term = loss.term
    if term is None or not distils(config):
        return finding
    if term.form.family not in ("kl-input-not-log", "reverse-kl-input-not-log"):
        return finding.against(
            "loss-forensics",
            "relative_error",
            term.error,
            f"the recorded loss is {term.form.describe()}",
            threshold=loss.tolerance,
            weight=12.0,
        )
    finding = reproduced(finding, loss, "recorded = Σ p_teacher (log p_teacher − p_student), without a logarithm")
    return finding.saying(
        "The divergence is computed from probabilities that were never logged.",
        where="the training loop: first argument of kl_div",
    ).prescribe("log_softmax on the student's side", loss__student_input="log_softmax")
