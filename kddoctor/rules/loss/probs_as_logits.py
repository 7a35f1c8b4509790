"""A softmax is taken of values that are probabilities already.

What it checks
    Whether recorded "logits" lie in [0, 1] with rows that sum to one, but for their last decimal, or that go from near
    0 to near 1 as a sigmoid of each logit does; and whether the recorded loss is reproduced only with a second softmax
    on one side.

Why it hurts
    Softmax of probabilities is almost uniform: with 10 classes no target exceeds e / (e + 9) = 0.23, with 1,000 none
    exceeds 0.003. The soft targets say nothing, at any temperature.

What it looks like
    A student that is unsure of everything. Accuracy can survive, so look at confidence, not at accuracy.

Told apart from
    KD302 and KD303, where the raw values are ordinary logits. Log-probabilities passed as logits are harmless:
    softmax(log p) = p.

Fix
    - teacher_logits = torch.softmax(teacher(x), -1)
    + teacher_logits = teacher(x)
    Where only probabilities exist, use log(p).

Treat automatically
    Yes: the student is retrained on the logarithm of the probabilities.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2: the temperature divides logits.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.measurements import TeacherViews
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import distils, mistaken, reproduced
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest


@rule(
    "KD205",
    name="probs-as-logits",
    family="loss",
    title="A softmax is taken of probabilities",
    stage=20,
    reads=(TeacherViews, Manifest),
    uses=(LossForensics, LossMistakes),
    masks=(
        "KD102",
        "KD208",
        "KD211",
        "KD301",
        "KD303",
        "KD402",
        "KD502",
        "KD705",
        "KD902",
    ),
)
def probs_as_logits(
    teacher: TeacherViews, config: Manifest, loss: LossForensics | None, mistakes: LossMistakes | None = None
) -> Finding:
    finding = _by_the_values(Finding(), teacher)
    if loss is not None:
        finding = _by_the_loss(finding, loss)
    found = None if mistakes is None or not distils(config) else mistakes.of("KD205")
    if mistakes is not None and found is not None:
        finding = mistaken(finding, mistakes, found)
    if not finding.supporting:
        return finding.against(
            "teacher-validity",
            "probabilities",
            0.0,
            "the recorded logits leave the interval [0, 1]",
            grade=Grade.PROOF,
        )
    return finding.saying(
        "A softmax is taken of values that are probabilities already, so the soft targets are almost flat.",
        where="the training loop: what the models return",
    ).prescribe("pass raw logits (or the logarithm of the probabilities)", loss__logits="raw")


def _by_the_values(finding: Finding, teacher: TeacherViews) -> Finding:
    for view in teacher.all:
        if view.probabilities:
            finding = finding.supported_by(
                "teacher-validity",
                "probabilities",
                1.0,
                f"{view.source}: every teacher value lies in [0, 1] and every row sums to one",
                threshold=1e-3,
                grade=Grade.INTERVENTIONAL,
                group="values",
            )
        if view.chances:
            finding = finding.supported_by(
                "teacher-validity",
                "chances",
                1.0,
                f"{view.source}: every teacher value lies in [0, 1], and rows go from near 0 to near 1 without summing "
                "to one, as probabilities of one yes or no a class do",
                threshold=1.0,
                grade=Grade.INTERVENTIONAL,
                group="values",
            )
    if teacher.student_probabilities:
        finding = finding.supported_by(
            "teacher-validity",
            "student_probabilities",
            1.0,
            "the student's values lie in [0, 1] and sum to one",
            threshold=1e-3,
            grade=Grade.INTERVENTIONAL,
            group="values",
        )
    return finding


def _by_the_loss(finding: Finding, loss: LossForensics) -> Finding:
    term = loss.term
    if loss.hard_term == "cross-entropy of softmax(softmax(z))":
        finding = finding.supported_by(
            "loss-forensics",
            "hard_term",
            1.0,
            "the hard-label term is the cross-entropy of softmax(softmax(z)), on every step",
            grade=Grade.PROOF,
        )
    if term is None:
        return finding
    if "log" in (term.form.teacher_transform, term.form.student_transform):
        return finding.against(
            "loss-forensics",
            "teacher_transform",
            None,
            "the loop takes their logarithm before the softmax, which is right",
            grade=Grade.PROOF,
        )
    if "softmax" in (term.form.teacher_transform, term.form.student_transform):
        return reproduced(finding, loss, f"recorded = {term.form.describe()}")
    if finding.supporting and (term.form.teacher_transform, term.form.student_transform) == (
        "logits",
        "logits",
    ):
        return reproduced(finding, loss, "recorded = the divergence with a softmax of these probabilities")
    return finding
