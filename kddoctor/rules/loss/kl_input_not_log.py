"""The divergence is given probabilities where it expects log-probabilities.

What it checks
    Whether the recorded distillation loss equals Σ p (log p − q), which is what ``kl_div`` returns when its input
    is softmax instead of log_softmax; or Σ exp(p) (p − log q), which it returns with log_target and a plain softmax.
    The same for what else is taken for log q: raw logits, log(1 + q), a logarithm to another base, log-sigmoids.

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
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.rules.finding import Finding
from kddoctor.rules.loss.declared import as_declared, distils, mistaken, reproduced
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest

#: Argument of kl_div that lacks the logarithm, and what is then computed.
NOT_LOGGED = {
    "kl-input-not-log": ("first", "Σ p_teacher (log p_teacher − p_student)"),
    "reverse-kl-input-not-log": ("first", "Σ p_student (log p_student − p_teacher)"),
    "kl-target-not-log": ("second", "Σ exp(p_teacher) (p_teacher − log p_student)"),
}


@rule(
    "KD203",
    name="kl-input-not-log",
    family="loss",
    title="The divergence gets probabilities instead of log-probabilities",
    stage=29,
    reads=(LossForensics, Manifest),
    uses=(LossMistakes,),
    masks=("KD208", "KD301", "KD402", "KD502", "KD102"),
)
def kl_input_not_log(loss: LossForensics, config: Manifest, mistakes: LossMistakes | None = None) -> Finding:
    finding = as_declared(Finding(), loss)
    term = loss.term
    if not distils(config):
        return finding
    found = None if mistakes is None else mistakes.of("KD203")
    if term is None and mistakes is not None and found is not None:
        return _said(mistaken(finding, mistakes, found), "first" if found.name.startswith("input") else "second")
    if term is None:
        return finding
    if term.form.family not in NOT_LOGGED:
        return finding.against(
            "loss-forensics",
            "relative_error",
            term.error,
            f"the recorded loss is {term.form.describe()}",
            threshold=loss.tolerance,
            weight=12.0,
        )
    side, formula = NOT_LOGGED[term.form.family]
    finding = reproduced(finding, loss, f"recorded = {formula}, without a logarithm")
    return _said(finding, side)


def _said(finding: Finding, side: str) -> Finding:
    return finding.saying(
        "The divergence is computed from values that are no log-probabilities.",
        where=f"the training loop: {side} argument of kl_div",
    ).prescribe("log_softmax on both sides, or log_target left out", loss__student_input="log_softmax")
