"""Teacher and student have changed places in the divergence.

What it checks
    Whether the recorded loss is KL(student ‖ teacher), or the cross-entropy of that direction, where KL(teacher ‖
    student) was declared, or the reverse.

Why it hurts
    The reverse divergence seeks one mode: the student becomes overconfident and drops the teacher's second choices,
    which is the knowledge that was to be distilled.

What it looks like
    Sharper outputs than the teacher's, lower recall on confusable classes; for language models less variety.

Told apart from
    A declared reverse KL, which is a choice and no fault. At high temperatures both directions have nearly the
    same value, so the comparison needs logits in full precision: otherwise it is reported as undecided.

Fix
    - F.kl_div(F.log_softmax(teacher / T, -1), F.softmax(student / T, -1), reduction="batchmean")
    + F.kl_div(F.log_softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean")

Treat automatically
    Yes: the student is retrained with the declared direction.

Read more
    Hinton et al. 2015, arXiv:1503.02531. Gu et al. 2024, arXiv:2306.08543, on the reverse direction.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.rules.finding import Finding
from kddoctor.rules.loss.declared import as_declared, distils, excluded, reproduced, undecided
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest

#: What runs where the two were exchanged, by what was declared.
OPPOSITE = {"kl": ("reverse-kl", "reverse-cross-entropy"), "reverse-kl": ("kl",)}


@rule(
    "KD204",
    name="kl-direction-swapped",
    family="loss",
    title="Teacher and student are exchanged in the divergence",
    stage=32,
    reads=(LossForensics, Manifest),
    masks=("KD208", "KD402", "KD502", "KD102"),
)
def kl_direction_swapped(loss: LossForensics, config: Manifest) -> Finding:
    finding = as_declared(Finding(), loss)
    term, declared = loss.term, config.distillation.loss
    if term is None or declared not in OPPOSITE or not distils(config):
        return finding
    if term.form.objective.family not in OPPOSITE[declared]:
        return excluded(finding, loss)
    finding = reproduced(finding, loss, f"recorded = {term.form.describe()}")
    return (
        undecided(finding, loss)
        .saying(
            f"The loss is {term.form.describe()}; the other direction was declared.",
            where="kd_run.yaml: distillation.loss",
        )
        .prescribe("the declared direction: log_softmax of the student first", loss__direction=declared)
    )
