"""The distillation term compares something else than the teacher with the student.

What it checks
    Whether the recorded distillation loss is zero, up to rounding, although teacher and student differ; or is the
    cross-entropy with the labels or with the student's own top class, the entropy of one model alone, or the divergence
    from targets that are the same for every class, as a buffer that was never filled gives them. And whether any
    function of one model and the labels alone reproduces it, as where targets are made up from the labels. And whether
    a term that no formula reproduces is next to nothing beside the declared one, and the larger the nearer the student
    comes to its teacher: as a distance from the student's own answers of before is. And whether the targets of the
    first step are the student's own logits, which know nothing, beside a teacher that knows more: a frozen copy.

Why it hurts
    The teacher is never asked. The run is ordinary training that looks like distillation in the log.

What it looks like
    A distillation loss of 1e-8, or one that equals the hard-label loss digit by digit.

Told apart from
    KD109, where teacher and student really agree, or the teacher that was recorded is the copy: here their recomputed
    divergence is large. KD110, where the term is
    not part of the total, which the labels then have to themselves, or no row is part of the term: then its gradient
    is exactly zero too. KD111, where a term that is right carries no gradient. KD214, where a softmax over a single
    number makes the term exactly zero. Teachers whose top class is used on purpose: where that class is the label on
    every row, the two cannot be told apart from one record.

Fix
    - kd = kl(log_softmax(teacher_logits / T), softmax(teacher_logits / T))
    + kd = kl(log_softmax(student_logits / T), softmax(teacher_logits / T))
    Test the loop with a constant teacher: the student has to collapse to it.

Treat automatically
    Yes: the student is retrained with the declared loss between teacher and student.

Read more
    Hinton et al. 2015, arXiv:1503.02531, section 2.
"""

from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.loss_mistakes import Astray, LossMistakes
from kddoctor.probes.measurements import TeacherViews
from kddoctor.probes.sameness import Sameness
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.loss.declared import (
    LEAVES_ROUNDING,
    as_declared,
    distils,
    excluded,
    filtered_out,
    mistaken,
    single_numbers,
    zero_in_place,
)
from kddoctor.rules.pipeline.teacher_equals_student import EQUAL, of_first_weights
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Nats, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Divergence, in nats, from which two models are not the same (catalogue).
VISIBLE_DIVERGENCE: Nats = 1e-3
#: What float32 leaves of a divergence of equals, where no T² enlarges it.
PLAIN_ROUNDING: Nats = 1e-5
#: Rank correlation with the declared divergence up to which a term does not go with it at all, or goes against it.
UNRELATED, AGAINST = 0.0, -0.5
#: Share of the declared term below which an unexplained one is next to nothing (as KD208's inert terms, taxonomy).
NEXT_TO_NOTHING: Share = 0.05
#: The same of one that goes against it.
SMALL: Share = 0.25


@rule(
    "KD209",
    name="kd-target-wrong-source",
    family="loss",
    title="The distillation term does not compare teacher and student",
    stage=26,
    reads=(LossMistakes, LossForensics, Manifest),
    uses=(Observations, Sameness, TeacherViews),
    masks=(
        "KD102",
        "KD110",
        "KD111",
        "KD208",
        "KD301",
        "KD402",
        "KD502",
        "KD602",
    ),
    implies=("KD110", "KD111"),
)
def kd_target_wrong_source(
    mistakes: LossMistakes,
    loss: LossForensics,
    config: Manifest,
    seen: Observations | None,
    same: Sameness | None = None,
    teacher: TeacherViews | None = None,
) -> Finding:
    if same is not None and distils(config) and of_first_weights(same, teacher, seen):
        return _said(_of_first_weights(Finding(), same), "The targets are the student's own first answers.")
    finding = as_declared(Finding(), loss)
    if not distils(config):
        return finding
    if mistakes.zero is not None:
        return _of_zero(finding, mistakes, loss, config, seen)
    found = mistakes.of("KD209")
    if found is None:
        return finding if mistakes.found else _astray(excluded(finding, loss), mistakes, loss, config)
    tops = found.name == "labels" and mistakes.labels_are_tops
    finding = mistaken(finding, mistakes, found, alone=not tops)
    if tops:
        finding = finding.against(
            "loss-mistakes",
            "labels_are_tops",
            1.0,
            "on every recorded row the label is the teacher's top class, which may have been meant",
            weight=1.0,
        )
    return _said(finding, f"The distillation loss is {found.text}: the other model is not in it.")


def _of_first_weights(finding: Finding, same: Sameness) -> Finding:
    return finding.supported_by(
        "sameness",
        "first",
        same.first,
        "the targets of the first step are the logits of the student itself and know nothing of the labels, while the "
        "teacher does",
        threshold=EQUAL,
        origin="identity",
        grade=Grade.PROOF,
    )


def measures_no_distance(astray: Astray) -> bool:
    """Whether an unexplained term is small beside the distance from the teacher, and does not grow with it."""
    if astray.follows <= AGAINST:
        return astray.most <= SMALL
    return astray.follows <= UNRELATED and astray.most <= NEXT_TO_NOTHING


def _astray(finding: Finding, mistakes: LossMistakes, loss: LossForensics, config: Manifest) -> Finding:
    astray = mistakes.astray
    if astray is None or loss.term is not None or config.distillation.loss not in ("kl", "reverse-kl"):
        return finding
    if not measures_no_distance(astray):
        return finding
    finding = finding.supported_by(
        "loss-mistakes",
        "follows",
        astray.follows,
        f"on each of {mistakes.steps} steps the term is at most {astray.most:.2g} times the declared one, and does "
        f"not grow with it (rank correlation {astray.follows:+.2f}): it measures no distance from the teacher",
        threshold=UNRELATED,
        origin="convention",
        grade=Grade.INTERVENTIONAL,
        weight=6.0,
    )
    return _said(finding, "The distillation loss does not measure how far the student is from its teacher.")


def _of_zero(
    finding: Finding, mistakes: LossMistakes, loss: LossForensics, config: Manifest, seen: Observations | None
) -> Finding:
    if mistakes.divergence < VISIBLE_DIVERGENCE:
        return finding.against(
            "loss-mistakes",
            "divergence",
            mistakes.divergence,
            "teacher and student hardly differ, so that a zero may be honest",
            threshold=VISIBLE_DIVERGENCE,
            origin="convention",
            weight=10.0,
        )
    term = seen.graph.kd_loss if seen is not None and seen.graph is not None else None
    from_student = term is not None and term.student > 0
    in_place = term is None and zero_in_place(loss, mistakes, config)
    if mistakes.zero == "exact" and not from_student and not in_place:
        # A constant 0 is what a term that was never computed is logged as.
        return finding
    if mistakes.still and not in_place and config.task in ("multiclass", "tokens"):
        # Two equals leave rounding in the gradient; a term of no rows leaves nothing.
        return finding.against(
            "loss-mistakes",
            "largest",
            0.0,
            "the term and its gradient are exactly 0: no row is in it, whatever it compares",
            grade=Grade.INTERVENTIONAL,
            weight=8.0,
        )
    if mistakes.largest > PLAIN_ROUNDING and config.distillation.loss not in LEAVES_ROUNDING:
        return finding  # squares of soft probabilities are as small, and nobody knows whether T² was meant
    if config.distillation.loss == "jsd":
        return finding  # which is zero, or a rounding error, where its own weight makes it vanish: KD210
    finding = finding.supported_by(
        "loss-mistakes",
        "largest",
        mistakes.largest,
        f"the recorded term is at most {mistakes.largest:.2g} on {mistakes.steps} steps, where the declared divergence "
        f"is {mistakes.divergence:.2g} nats: something is compared with itself",
        threshold=VISIBLE_DIVERGENCE,
        # Where nobody knows what the term was made from, a filter that lets no row through leaves the same.
        grade=Grade.INTERVENTIONAL if in_place else Grade.PROOF,
        group="loss-identity",
        weight=8.0 if in_place else None,
    )
    if mistakes.zero == "exact" and (single_numbers(config) or filtered_out(mistakes, config, seen)):
        other = "a softmax over a single number is" if single_numbers(config) else "a sum over no rows is"
        finding = finding.against(
            "loss-mistakes",
            "largest",
            0.0,
            f"it is exactly 0, as {other}; equals leave rounding errors",
            weight=12.0,
            group="exact",
        )
    if from_student:
        return _said(finding, "The student is compared with itself: the distillation loss is zero at every step.")
    if term is not None:
        return _said(finding, "The teacher is compared with itself: the distillation loss is zero at every step.")
    return _said(finding, "One model is compared with itself: the distillation loss is zero at every step.")


def _said(finding: Finding, summary: str) -> Finding:
    return finding.saying(summary, where="the training loop: arguments of the distillation loss").prescribe(
        "the student's logits on one side of the loss, the teacher's on the other", loss__form="declared"
    )
