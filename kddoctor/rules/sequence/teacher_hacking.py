"""The student comes ever closer to what the teacher once said, and further from the truth.

What it checks
    Whether the metric on held-out rows had its best long before the end and has fallen since, while the training loss
    went on falling; whether the labels are unused; whether the targets are single answers drawn from the teacher's
    distribution, with the errors that a draw makes; and then whether the labels alone make a better student.

Why it hurts
    A fixed set of the teacher's answers is finite. Gone over many times, what is left to learn in it are the
    teacher's mistakes and the accidents of the draw.

What it looks like
    The loss is better every epoch, and the student worse. The checkpoint of an early epoch beats the last one.

Told apart from
    KD401, which has not even fitted what the teacher said on training rows. KD602, where few rows are learnt by heart
    along with their labels. KD502, the opposite. KD301, where targets are sharp and the teacher's first choice: drawn
    ones often are another class than that.

Fix
    - answers = teacher.generate(prompts)  # once, before 80 epochs
    + answers = teacher.generate(prompts)  # anew every epoch, or the student's own texts scored by the teacher
    Or stop at the best epoch, mix in the labels, and learn from whole distributions.

Treat automatically
    Yes: the student is retrained on the teacher's distributions, for the epochs up to its best.

Read more
    Tiapkin et al. 2025, arXiv:2502.02671: On teacher hacking in language model distillation.
"""

from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.past_its_best import PastItsBest
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Deviations, Share
from kddoctor.run.manifest import Manifest

PROBE = "past-its-best"
#: Smallest loss of the metric that matters, and multiples of the noise of single evaluations that it must exceed.
ONE_POINT: Share = 0.01
CLEAR: Deviations = 3.0
#: Share of the training loss that must have gone since the best.
STILL_FALLING: Share = 0.05
#: Weight of the teacher from which labels play no part.
TEACHER_ALONE: Share = 0.95
#: Entropy of targets, as a share of the teacher's own, below which each is a single answer; and how far the cost of
#: that answer may be from the teacher's entropy, which is its expectation where it was drawn (identity).
SINGLE: Share = 0.1
DRAWN: Share = 0.15
#: Agreement on training rows of a student that fits what its teacher said there; KD401 starts below it.
FITTED: Share = 0.9
#: A first choice that is taken as it is agrees with the teacher always.
ALWAYS: Share = 0.99


@rule(
    "KD810",
    name="teacher-hacking",
    family="sequence-LM",
    title="The student fits what the teacher once said, at the expense of the truth",
    stage=37,
    reads=(PastItsBest, Manifest),
    uses=(TargetsAgainstOwn, Gaps, TrainGaps),
    masks=(
        "KD106",
        "KD107",
        "KD208",
        "KD301",
        "KD401",
        "KD402",
        "KD502",
        "KD602",
        "KD603",
    ),
)
def teacher_hacking(
    curve: PastItsBest,
    config: Manifest,
    targets: TargetsAgainstOwn | None,
    held_out: Gaps | None,
    train: TrainGaps | None,
) -> Finding:
    finding = Finding()
    rows = held_out.gaps.n if held_out is not None else None
    noise = max(ONE_POINT, CLEAR * curve.noise)
    if rows is not None:
        noise = max(noise, noise_of_difference(standard_error(min(1.0, max(0.0, curve.best)), rows)))
    alpha = config.distillation.alpha
    drawn = targets is not None and drawn_answers(targets)
    text = (
        f"held-out {curve.key} was {curve.best:.1%} after {curve.share:.0%} of the schedule and is {curve.last:.1%} at "
        "its end"
    )
    behind = _behind_the_twin(held_out) if drawn else None
    falls = curve.loss_fall > STILL_FALLING
    if falls and curve.fall > (noise / 2 if drawn else noise):
        finding = finding.supported_by(
            PROBE,
            "fall",
            curve.fall,
            f"{text}, while the training loss fell by another {curve.loss_fall:.0%}",
            threshold=noise,
            origin="two standard errors",
            weight=4.0 if curve.fall > noise else 2.0,
        )
    elif curve.fall < noise / 2 and behind is None:
        return _said(
            finding.against(PROBE, "fall", curve.fall, text, threshold=noise, origin="two standard errors", weight=6.0),
            config,
            curve,
        )
    if behind is not None:
        finding = finding.supported_by(
            "example-gaps",
            "baseline_accuracy",
            behind,
            f"the same student trained on the labels of these rows is right on {behind:.1%} more",
            threshold=0.0,
            origin="two standard errors",
            grade=Grade.INTERVENTIONAL,
            weight=4.0,
        )
    if not finding.evidence:
        return _said(finding, config, curve)
    if not drawn and train is not None and train.gaps.agreement < FITTED:
        finding = finding.against(
            "example-gaps",
            "agreement",
            train.gaps.agreement,
            f"even on training rows it has its teacher's answer in {train.gaps.agreement:.1%} only: it has not fitted "
            "what the teacher said",
            threshold=FITTED,
            origin="taxonomy",
            weight=4.0,
        )
    if alpha is not None and alpha >= TEACHER_ALONE:
        finding = finding.supported_by(
            "manifest", "alpha", alpha, "nothing but the teacher is followed", threshold=TEACHER_ALONE, weight=1.5
        )
    elif alpha is not None and not drawn:
        finding = finding.against(
            "manifest", "alpha", alpha, "the labels are followed as well", threshold=TEACHER_ALONE, weight=3.0
        )
    if targets is not None and drawn:
        finding = finding.supported_by(
            "targets-against-own",
            "answer_loss",
            targets.answer_loss,
            f"each target is one answer, which costs the teacher {targets.answer_loss:.2f} nats where its entropy is "
            f"{targets.own_entropy:.2f}: it was drawn from the teacher's distribution",
            threshold=targets.own_entropy,
            grade=Grade.INTERVENTIONAL,
            weight=5.0,
        )
    return _said(finding, config, curve)


def _behind_the_twin(held_out: Gaps | None) -> float | None:
    """Accuracy by which the labels-only twin is ahead of the student, where it is for certain."""
    if held_out is None or held_out.baseline_accuracy is None:
        return None
    ahead = held_out.baseline_accuracy - held_out.gaps.student_accuracy
    error = standard_error(held_out.gaps.student_accuracy, held_out.gaps.n)
    return ahead if ahead > max(ONE_POINT, noise_of_difference(error)) else None


def _said(finding: Finding, config: Manifest, curve: PastItsBest) -> Finding:
    said = finding.saying(
        "The student comes closer to the teacher's answers and further from the truth.",
        where="the training loop: how often the same answers of the teacher are gone over",
    )
    what = "the teacher's distributions on the batch itself, and the epochs up to the best"
    epochs = config.training.epochs
    if epochs is None:
        return said.prescribe(what, safety="careful", treatment__pairing="online")
    best = max(1, round(curve.share * epochs))
    return said.prescribe(what, safety="careful", treatment__pairing="online", training__epochs=best)


def drawn_answers(targets: TargetsAgainstOwn) -> bool:
    """Whether each target is a single answer that was drawn from the teacher's distribution."""
    if targets.entropy > SINGLE * targets.own_entropy or targets.agreement > ALWAYS:
        return False
    return abs(targets.answer_loss - targets.own_entropy) < DRAWN * targets.own_entropy
