"""The distillation term is in the total, and no gradient of it reaches the student.

What it checks
    Whether the total's gradient in the student's logits is that of the hard-label term alone, although the total
    itself contains the distillation term; and what the autograd graph says of the term. Where no gradient was noted:
    whether the student is as far from the teacher as its labels-only twin, and not where its own objective has its
    minimum.

Why it hurts
    The logged numbers look right, and the run is ordinary supervised training with a smaller learning rate.

What it looks like
    The distillation loss is logged and not zero, and the result does not depend on alpha or the temperature.

Told apart from
    KD110, where the term is missing from the total's value too. KD208, where its gradient is small and not absent, or
    where a weight that moves has taken value and gradient to nothing alike. KD209, where the term compares the wrong
    things. KD501, KD502 and KD504, where the student learns less of the labels than its twin, too.

Fix
    - kd = kl(student_logits.detach() / T, teacher_logits / T)   # or torch.tensor(...), .item(), numpy
    + kd = kl(student_logits / T, teacher_logits / T)
    Assert that torch.autograd.grad(kd, student_logits) is not zero.

Treat automatically
    Yes: the student is retrained with a term that carries its gradient.

Read more
    PyTorch documentation of Tensor.detach and autograd mechanics.
"""

from kddoctor.probes.example_gaps import ExampleGaps
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.loss_schedule import LossSchedule
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.scale_fit import ScaleFit
from kddoctor.probes.term_gradients import TermGradients, TermReach
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import distils
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Count, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

PROBE = "term-gradients"
#: Relative rest that the hard-label gradient leaves of the total's: float32 sums stay far below.
NOTHING_LEFT = 1e-4
#: Weight of a term's gradient that is none: a thousandth of what a declared weight of 0.1 would be.
NO_WEIGHT = 1e-4
#: Steps from which norms alone are believed.
FEWEST_STEPS: Count = 3
#: Share of its twin's divergence from the teacher that any distilled student loses: sound runs of digits, movielens,
#: sentiment and language lost from 0.3 on.
FOLLOWED: Share = 0.1
#: Share of its own objective that a student at its minimum along the scale of its logits could still save: sound runs
#: of the same tasks 0.00, students without the term's gradient 0.30 and more.
AT_MINIMUM: Share = 0.15
#: Declared weight from which a term leads a student, and accuracy by which one that learnt the labels may be behind its
#: twin.
LEADS: Share = 0.3
LEARNT: Share = 0.02
#: Points below the teacher from which following it would have shown: the benchmark's definition of moderate harm.
MODERATE: Share = 0.03


@rule(
    "KD111",
    name="student-branch-detached",
    family="pipeline",
    title="The distillation term carries no gradient to the student",
    stage=26,
    reads=(Manifest,),
    uses=(
        TermGradients,
        LossForensics,
        Observations,
        LossMistakes,
        TermReach,
        LossSchedule,
        ScaleFit,
        TrainGaps,
        Gaps,
    ),
    masks=("KD102", "KD208", "KD302", "KD401", "KD402", "KD501", "KD502", "KD504"),
    implies=("KD212", "KD305"),
)
def student_branch_detached(
    config: Manifest,
    gradients: TermGradients | None,
    loss: LossForensics | None,
    seen: Observations | None,
    mistakes: LossMistakes | None = None,
    reach: TermReach | None = None,
    schedule: LossSchedule | None = None,
    fit: ScaleFit | None = None,
    train: TrainGaps | None = None,
    held_out: Gaps | None = None,
) -> Finding | NotExamined:
    if gradients is None and reach is None:
        alone = next((part.gaps for part in (train, held_out) if part and part.gaps.kl_teacher_baseline), None)
        if fit is None or alone is None or not _leads(config, loss):
            return NotExamined(*RECORD["TermGradients"])
        return _by_twin(fit, alone)
    if not distils(config):
        return Finding()
    if gradients is None:
        assert reach is not None
        return _by_norms(reach, loss, seen, mistakes)
    if gradients.residual > NOTHING_LEFT or gradients.ce_weight is None:
        # More than the hard-label term is in the gradient, whether or not its owner was recorded with a graph.
        return Finding()
    if gradients.kd_weight is None or abs(gradients.kd_weight) > NO_WEIGHT:
        return _connected(Finding(), gradients)
    if _nothing_promised(loss, mistakes) or _hardly_promised(loss) or schedule is not None:
        # Where a weight moves, or is next to nothing, it takes gradient and value to nothing alike: KD208.
        return Finding()
    finding = Finding().supported_by(
        PROBE,
        "kd_weight",
        gradients.kd_weight,
        f"the total's gradient is {gradients.ce_weight:.3g} x that of the hard-label term, on each of "
        f"{gradients.steps} steps, and nothing else",
        threshold=NO_WEIGHT,
        grade=Grade.PROOF,
    )
    return _said(_by_graph(finding, seen))


def _said(finding: Finding) -> Finding:
    return finding.saying(
        "No gradient of the distillation term reaches the student.",
        where="the training loop: the student's logits in the distillation term",
    ).prescribe("compute the term from the student's live logits", loss__form="declared")


def _nothing_promised(loss: LossForensics | None, mistakes: LossMistakes | None) -> bool:
    """Whether the term's value is nothing too: it is missing (KD110), empty, or one model beside itself (KD209)."""
    if loss is not None and (loss.kd_always_zero or (loss.mix is not None and loss.mix.kd_weight == 0)):
        return True
    return mistakes is not None and mistakes.zero is not None


def _hardly_promised(loss: LossForensics | None) -> bool:
    """Whether the term's weight in the total's value is as small as one that its gradient could not be told by."""
    mix = None if loss is None else loss.mix
    return mix is not None and not mix.schedule and 0 < abs(mix.kd_weight) <= NO_WEIGHT * abs(mix.ce_weight)


def _by_norms(
    reach: TermReach, loss: LossForensics | None, seen: Observations | None, mistakes: LossMistakes | None
) -> Finding:
    """Where the norms of both terms' gradients are all that was noted: the labels' has one, and this term has none."""
    # A term of other logits than the recorded ones has its gradient elsewhere; one that was seen to be zero is theirs.
    of_these = loss is not None and loss.term is not None
    silent = reach.zero + reach.unseen == reach.steps if of_these else reach.zero == reach.steps
    if not silent or reach.steps < FEWEST_STEPS or _nothing_promised(loss, mistakes):
        return Finding()
    proven = reach.zero > 0 and of_these
    finding = Finding().supported_by(
        PROBE,
        "kd_grad_norm",
        0.0 if reach.zero else None,
        f"on each of {reach.steps} steps the hard-label term has a gradient in the student's logits, and the "
        f"distillation term {'has one of zero' if reach.zero else 'has none'} although its value is not zero",
        threshold=0.0,
        grade=Grade.PROOF if proven else Grade.INTERVENTIONAL,
    )
    return _said(_by_graph(finding, seen))


def _leads(config: Manifest, loss: LossForensics | None) -> bool:
    """Whether the recorded total is the declared one, with a term of some weight in it."""
    alpha = config.distillation.alpha
    verified = loss is not None and loss.declared_holds
    return distils(config) and verified and alpha is not None and alpha >= LEADS and not _nothing_promised(loss, None)


def _by_twin(fit: ScaleFit, gaps: ExampleGaps) -> Finding:
    """Where gradients were not noted: a student that follows the labels as its twin does, and the teacher no more."""
    assert gaps.kl_teacher_baseline is not None
    assert gaps.baseline_accuracy is not None
    followed = 1 - gaps.kl_teacher_student / gaps.kl_teacher_baseline
    text = f"distilling removed {followed:.0%} of the labels-only student's divergence from the teacher"
    if followed > FOLLOWED:
        return Finding().against("example-gaps", "followed", followed, text, threshold=FOLLOWED, weight=3.0)
    behind = gaps.teacher_accuracy - max(gaps.student_accuracy, gaps.baseline_accuracy) >= MODERATE
    if not behind or fit.gain <= AT_MINIMUM or gaps.student_accuracy < gaps.baseline_accuracy - LEARNT:
        return Finding()
    finding = Finding().supported_by(
        "example-gaps", "followed", followed, text, threshold=FOLLOWED, origin="calibrated", weight=3.5,
    )  # fmt: skip
    return _said(
        finding.supported_by(
            "scale-fit",
            "gain",
            fit.gain,
            f"it knows the labels as well, and the loss that is recorded would be {fit.gain:.0%} lower with its logits "
            f"times {fit.factor:.2g}: something else was minimised",
            threshold=AT_MINIMUM,
            origin="calibrated",
            weight=3.0,
        )
    )


def _connected(finding: Finding, gradients: TermGradients) -> Finding:
    weight = gradients.kd_weight
    if weight is None:
        return finding
    return finding.against(
        PROBE,
        "kd_weight",
        weight,
        f"the total's gradient holds {weight:.3g} x that of the distillation term",
        threshold=NO_WEIGHT,
        grade=Grade.PROOF,
    )


def _by_graph(finding: Finding, seen: Observations | None) -> Finding:
    graph = None if seen is None else seen.graph
    if graph is None or graph.kd_loss is None or graph.kd_loss.student:
        return finding
    return finding.supported_by(
        "observations",
        "graph.kd_loss.student",
        0.0,
        "the distillation term depends on none of the student's parameters",
        threshold=0.0,
    )
