"""The softmax of the distillation term runs over the wrong axis.

What it checks
    Whether the recorded distillation loss is reproduced by softmaxes over the rows of the batch, the positions of a
    sequence, or rows that were cut across classes, and by nothing else.

Why it hurts
    What is matched are no distributions over classes. Each column says which *examples* a class likes best, which
    depends on the other examples of the batch; the student learns next to nothing of the teacher's second choices.

What it looks like
    The size of the loss changes with the batch size. Distilling gains little, or does harm, and never crashes.

Told apart from
    Channel-wise distillation, which wants another axis: declare such a loss as custom. KD205, a softmax over the right
    axis that is taken twice. A listwise loss over the candidates of one user, which is no mistake in a ranking task:
    there the verdict stays short of certain.

Fix
    - F.softmax(teacher_logits / T, dim=0)
    + F.softmax(teacher_logits / T, dim=-1)
    Move classes to the last axis before any view(-1, C), and assert that probabilities sum to one over it.

Treat automatically
    Yes: the student is retrained with the softmax over classes.

Read more
    PyTorch documentation of softmax, argument dim. Shu et al. 2021, arXiv:2011.13256, for the channel-wise loss.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import STANDARD_LOSSES, as_declared, distils, excluded, mistaken
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest


@rule(
    "KD206",
    name="softmax-wrong-axis",
    family="loss",
    title="The softmax runs over the wrong axis",
    stage=29,
    reads=(LossMistakes, LossForensics, Manifest),
    masks=("KD102", "KD208", "KD301", "KD402", "KD502", "KD505"),
)
def softmax_wrong_axis(mistakes: LossMistakes, loss: LossForensics, config: Manifest) -> Finding:
    finding = as_declared(Finding(), loss)
    found = mistakes.of("KD206")
    if not distils(config) or config.distillation.loss not in STANDARD_LOSSES:
        return finding
    if found is None:
        return finding if mistakes.found else excluded(finding, loss)
    finding = mistaken(finding, mistakes, found)
    if config.task == "ranking" and found.name == "both over the batch":
        finding = finding.against(
            "loss-mistakes",
            "task",
            None,
            "a ranking may be learnt from whole lists of candidates",
            grade=Grade.STATISTICAL,
            weight=5.0,
        )
    return finding.saying(
        f"The distillation loss is {found.text}.", where="the training loop: dim of the softmax"
    ).prescribe("softmax over classes, the last axis", loss__axis="class")
