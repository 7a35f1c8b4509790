"""The distillation term never reaches the total loss.

What it checks
    Whether the recorded total is the hard-label term alone at every step, although distillation was declared; or the
    term has the student in its graph and is exactly zero at every step, as when a filter lets no row through. Whether
    the student answers as the same student does that was trained without a teacher, to the last digit of the mean.

Why it hurts
    The run is ordinary supervised training. The teacher costs time and teaches nothing.

What it looks like
    Changing alpha or the temperature changes nothing; the distillation column of the log is missing or zero.

Told apart from
    KD111, where the term is in the total but carries no gradient. KD209, where it compares a model with itself, which
    leaves rounding errors, or a zero beside labels that have the weight that was declared for them. KD214, where a
    softmax over a single number makes it exactly zero. KD201, where the term is small and not absent.

Fix
    - loss = ce
    + loss = alpha * kd + (1 - alpha) * ce
    Where hooks deliver the term: fail when none fired, and strip a "module." prefix from layer names. Where rows are
    filtered by the teacher's confidence: log how many are left, and compare like units.

Treat automatically
    Yes: the student is retrained with the declared loss.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.measurements import Gaps
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import PROBE, distils, filtered_out, zero_in_place
from kddoctor.rules.record import RECORD
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Mean KL(teacher ‖ student) in nats above which a distillation term of zero is not an honest zero.
VISIBLE_DIVERGENCE: Nats = 0.01


@rule(
    "KD110",
    name="kd-term-disconnected",
    family="pipeline",
    title="The distillation term never reaches the total loss",
    stage=25,
    reads=(Manifest,),
    uses=(LossForensics, LossMistakes, Observations, Gaps),
    masks=(
        "KD102",
        "KD208",
        "KD301",
        "KD402",
        "KD502",
        "KD602",
    ),
)
def kd_term_disconnected(
    config: Manifest,
    loss: LossForensics | None,
    mistakes: LossMistakes | None,
    seen: Observations | None,
    held_out: Gaps | None = None,
) -> Finding | NotExamined:
    alike = distils(config) and held_out is not None and _as_its_twin(held_out)
    if loss is None:
        return _of_the_twin() if alike else NotExamined(*RECORD["LossForensics"])
    mix = loss.mix
    if mix is None or not distils(config):
        return _of_the_twin() if alike else Finding()
    no_rows = mistakes is not None and filtered_out(mistakes, config, seen)
    if mistakes is not None and no_rows and mistakes.divergence > VISIBLE_DIVERGENCE:
        return _of_no_rows(mistakes)
    unknown = seen is None or seen.graph is None or seen.graph.kd_loss is None
    if not no_rows and (_adds_nothing(mistakes, seen) or (unknown and zero_in_place(loss, mistakes, config))):
        return Finding().against(
            PROBE,
            "kd_loss",
            mistakes.largest if mistakes is not None else 0.0,
            "a term was computed and added, and is zero by itself",
            grade=Grade.PROOF,
        )
    if mix.kd_weight != 0 or mix.schedule or mix.fit.weights.get("feature"):
        return Finding().against(
            PROBE,
            "kd_weight",
            mix.kd_weight,
            "the total moves with the distillation term",
            threshold=0.0,
            grade=Grade.PROOF,
        )
    finding = Finding().supported_by(
        PROBE,
        "kd_weight",
        0.0,
        f"recorded total = {mix.ce_weight:g} x hard-label loss on every one of {loss.steps} steps",
        threshold=loss.tolerance,
        grade=Grade.PROOF,
    )
    if loss.divergence > VISIBLE_DIVERGENCE:
        finding = finding.supported_by(
            "loss-forensics",
            "divergence",
            loss.divergence,
            f"teacher and student differ by {loss.divergence:.2g} nats on these steps",
            threshold=VISIBLE_DIVERGENCE,
            origin="convention",
        )
    if loss.kd_always_zero and not no_rows:
        finding = finding.against(
            PROBE,
            "kd_loss",
            0.0,
            "a distillation loss was recorded and is exactly zero: it may compare the wrong things",
            weight=6.0,
        )
    return finding.saying(
        "The distillation term is not part of the loss that was minimised.",
        where="the training loop: the sum of the loss terms",
    ).prescribe("add the distillation term to the total", loss__weights="declared")


def _as_its_twin(held_out: Gaps) -> bool:
    """Whether both are as far from the teacher, to the last digit, and right on the same rows: one set of weights."""
    gaps = held_out.gaps
    apart = (gaps.student_only_right, gaps.baseline_only_right) != (0, 0)
    return not apart and gaps.kl_teacher_student == gaps.kl_teacher_baseline


def _of_the_twin() -> Finding:
    return (
        Finding()
        .supported_by(
            "example-gaps",
            "kl_teacher_baseline",
            0.0,
            "the student gives the very answers of the student that was trained without a teacher: distilling changed "
            "no weight, or one of the two was recorded twice",
            threshold=0.0,
            grade=Grade.INTERVENTIONAL,
        )
        .saying(
            "Distilling changed nothing: the student is the one that was trained without a teacher.",
            where="the training loop: the sum of the loss terms; the recorded baseline",
        )
        .prescribe("add the distillation term to the total, or record the right baseline", loss__weights="declared")
    )


def _of_no_rows(mistakes: LossMistakes) -> Finding:
    finding = Finding().supported_by(
        "loss-mistakes",
        "largest",
        mistakes.largest,
        f"the recorded term is made from the student and exactly 0 on {mistakes.steps} steps, where both models "
        f"differ by {mistakes.divergence:.2g} nats: no row of it counts",
        threshold=0.0,
        grade=Grade.PROOF,
    )
    return finding.saying(
        "No row of the distillation term reaches the loss that was minimised.",
        where="the distillation term: its mask, its filter or its factor",
    ).prescribe("let the rows through, and log how many are left", loss__form="declared")


def _adds_nothing(mistakes: LossMistakes | None, seen: Observations | None) -> bool:
    """Whether the term is in the total and zero by itself: noise of a computation, or a zero that has a graph."""
    if mistakes is None or mistakes.zero is None:
        return False
    term = seen.graph.kd_loss if seen is not None and seen.graph is not None else None
    return mistakes.zero == "rounding" or bool(term is not None and term.in_total)
