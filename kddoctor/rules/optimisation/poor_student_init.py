"""The student starts from weights that it cannot learn well from.

What it checks
    The student's answers at its very first step, before any update: whether they are far more wrong than a uniform
    guess, or do not depend on the input and never come to; whether the units of a layer are copies of each other; and,
    where the manifest says that the student starts from trained weights (``training.initial_weights: teacher`` or
    ``pretrained``), whether it knows anything.

Why it hurts
    Weights that are far too large saturate a network, biases that are far too low switch its units off; the schedule is
    spent on undoing that, or nothing is ever learned. A student that was meant to start from trained layers and does
    not has to learn everything from the transfer set.

What it looks like
    A first loss of tens or hundreds; or a loss that never moves from that of a constant answer.

Told apart from
    KD501, whose first answers are sane and whose rate spoils them. KD502, which only needs more steps. KD402, where the
    student learns and is full. KD506, whose parameters have no optimizer.

Fix
    - nn.init.normal_(weight, std=1.0)
    + nn.init.kaiming_normal_(weight)
    Or start from every second layer of the teacher.

Treat automatically
    Yes: the student is retrained from the framework's own first weights.

Read more
    He et al. 2015, arXiv:1502.01852. Sanh et al. 2019, arXiv:1910.01108: a student made of the teacher's layers.
"""

from kddoctor.probes.layer_ranks import LayerRanks
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.optimisation.harm import severity
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats, Share
from kddoctor.run.manifest import Manifest

PROBE = "student-path"
#: The first recorded step has to be the first one.
FIRST = 1
#: Nats above ln C. Logits of standard deviation s give s²/2, and usual first weights an s of at most 1.
SANE: Nats = 0.5
WILD: Nats = 1.0
#: Share of the variance of the logits that lies between rows, for answers that do not depend on the input.
CONSTANT: Share = 1e-6
#: Way from a chance agreement with the teacher to a full one from which a student knows something, whatever its loss
#: says: labels may be wrong.
KNOWS: Share = 0.5
#: Share of a layer's units that are copies of others.
COPIES: Share = 0.5


@rule(
    "KD503",
    name="poor-student-init",
    family="optimisation",
    title="The student starts from weights that it cannot learn from",
    stage=50,
    reads=(StudentPath, Manifest),
    uses=(Gaps, LayerRanks),
    masks=("KD402", "KD502", "KD401", "KD405", "KD501"),
)
def poor_student_init(
    path: StudentPath, config: Manifest, held_out: Gaps | None, ranks: LayerRanks | None
) -> Finding | NotExamined:
    if path.step[0] > FIRST:
        return NotExamined(("steps of the very beginning",), "create the recorder before the first training step")
    excess = float(path.excess[0])
    text = f"at its first step the student's loss is {excess:+.2f} nats above that of a uniform guess"
    finding = Finding()
    knows = KNOWS + (1 - KNOWS) / path.classes
    dead = path.dependence[0] < CONSTANT and path.late("dependence") < CONSTANT and len(path.step) > 1
    if excess > WILD and path.agreement[0] < knows:
        finding = finding.supported_by(
            PROBE, "excess", excess, text, threshold=WILD, origin="He et al. 2015", grade=Grade.INTERVENTIONAL
        )
    if dead:
        finding = finding.supported_by(
            PROBE,
            "dependence",
            float(path.dependence[0]),
            "the student's answers do not depend on its input at the first step, nor at the last ones",
            threshold=CONSTANT,
            grade=Grade.INTERVENTIONAL,
            weight=7.0,
        )
    finding = _of_copies(finding, ranks)
    meant = (config.training.model_extra or {}).get("initial_weights")
    if meant in ("teacher", "pretrained") and excess > -SANE and path.agreement[0] < knows:
        finding = finding.supported_by(
            PROBE,
            "agreement",
            float(path.agreement[0]),
            f"declared to start from {meant} weights, and right on what a guess is at its first step",
            threshold=knows,
            origin="convention",
            grade=Grade.INTERVENTIONAL,
        )
    if not finding.evidence and excess < SANE:
        finding = finding.against(PROBE, "excess", excess, text, threshold=SANE, origin="He et al. 2015", weight=5.0)
    return finding.saying(
        "The student's first weights are ones that it cannot learn well from.",
        where="the student's constructor, or its first checkpoint",
        severity=severity(held_out),
    ).prescribe("the framework's own first weights, or the teacher's layers", treatment__initial_weights="default")


def _of_copies(finding: Finding, ranks: LayerRanks | None) -> Finding:
    """Units that start alike get the same gradient and stay alike; nothing else makes exact copies of them."""
    copies = {} if ranks is None else {name: rank.copies for name, rank in ranks.student.items()}
    if not copies or max(copies.values()) < COPIES:
        return finding
    name = max(copies, key=lambda layer: copies[layer])
    return finding.supported_by(
        "layer-ranks",
        "copies",
        copies[name],
        f"{copies[name]:.0%} of the units of the student's layer {name} are exact copies of others: they started alike",
        threshold=COPIES,
        origin="identity: equal units have equal gradients",
        grade=Grade.INTERVENTIONAL,
    )
