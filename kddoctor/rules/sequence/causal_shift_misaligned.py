"""Logits or labels stand at another position of the sequence.

What it checks
    Whether the outputs that the loss used are the teacher's own outputs of *another* position of the same sequence, one
    off or many; whether the recorded distillation loss is the divergence between neighbouring positions; and whether
    the hard-label loss is the cross-entropy with other labels than those that the teacher foretells.

Why it hurts
    The student is taught to say what comes after the next token, or what has just been said. The two terms pull it to
    different answers.

What it looks like
    A distillation loss that starts high and stays there, or a hard-label loss that does not fall, while nothing
    crashes, since all shapes agree.

Told apart from
    KD106, where outputs belong to other sequences. KD805, where no shift helps. Labels that are recorded as the inputs
    themselves, unshifted, and shifted once by the loss: what the teacher foretells shows which position is right.

Fix
    - loss = ce(logits[:, :-1], labels[:, 1:])     # where the data set has shifted the labels already
    + loss = ce(logits, labels)
    Shift once, in one place; slice both models alike; count prompt tokens of each model by its own tokenizer.

Treat automatically
    Yes: the student is retrained with both models and the labels at the same positions.

Read more
    Hugging Face Transformers documentation, language modelling: the model shifts labels itself.
"""

from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.token_shift import TokenShift
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.loss.declared import distils, mistaken
from kddoctor.rules.registry import Verdict, rule
from kddoctor.rules.settings import Share
from kddoctor.run.manifest import Manifest

PROBE = "token-shift"
#: Share of moved sequences that no honest record has.
STRAYS: Share = 0.05
#: Largest relative error of an identity in float32.
IDENTITY = 1e-4
#: Share of the positions by which a teacher must be better at one shift than at any other, for it to be known; and
#: share of its accuracy on held-out rows that the right shift gives it back: texts that are other than those it learnt,
#: such as of words said twice, have a best shift, too.
CLEAR: Share = 0.03
RESTORED: Share = 0.7


@rule(
    "KD803",
    name="causal-shift-misaligned",
    family="sequence-LM",
    title="Logits or labels stand at another position",
    stage=12,
    only=("tokens",),
    reads=(Manifest,),
    uses=(TokenShift, LossMistakes, Gaps),
    masks=(
        "KD101",
        "KD102",
        "KD106",
        "KD107",
        "KD208",
        "KD211",
        "KD301",
        "KD402",
        "KD502",
        "KD801",
    ),
)
def causal_shift_misaligned(
    config: Manifest, shift: TokenShift | None, mistakes: LossMistakes | None, held_out: Gaps | None = None
) -> Verdict:
    if config.task != "tokens":
        return NotExamined(("task tokens",), "only tasks of tokens have positions")
    if shift is None:
        return NotExamined(
            ("steps",),
            "call run.step(…) with student_logits and teacher_logits [B, L, V] and labels [B, L] in the loop",
        )
    finding = _by_identity(Finding(), shift)
    found = None if mistakes is None else mistakes.of("KD803")
    if found is not None and mistakes is not None and distils(config):
        finding = mistaken(finding, mistakes, found)
    finding = _by_labels(finding, shift, 0.0 if held_out is None else held_out.gaps.teacher_accuracy)
    return finding.saying(
        "Teacher, student and labels do not stand at the same position.",
        where="the training loop: slices of logits and labels",
    ).prescribe("shift once, and slice both models alike", treatment__pairing="online")


def _by_identity(finding: Finding, shift: TokenShift) -> Finding:
    if shift.moved is None or shift.still is None:
        return finding
    share = sum(shift.moved.values())
    if share > STRAYS:
        most = max(shift.moved, key=lambda k: shift.moved[k] if shift.moved else 0.0)
        return finding.supported_by(
            PROBE,
            "moved",
            share,
            f"in {share:.0%} of {shift.sequences} sequences the targets are the teacher's own outputs {abs(most)} "
            f"position{'s' if abs(most) > 1 else ''} {'later' if most > 0 else 'earlier'}",
            threshold=STRAYS,
            grade=Grade.PROOF,
            group="place",
        )
    if shift.displaced > STRAYS:
        return finding.supported_by(
            PROBE,
            "within",
            shift.displaced,
            f"at {shift.displaced:.0%} of the positions the targets are the teacher's own outputs of another position "
            "of the same sequence",
            threshold=STRAYS,
            grade=Grade.PROOF,
            group="place",
        )
    if shift.still > 1 - STRAYS and shift.hard_errors is None:
        return finding.against(
            PROBE,
            "still",
            shift.still,
            f"{shift.still:.0%} of the targets are the teacher's own at that very position",
            threshold=1 - STRAYS,
            grade=Grade.PROOF,
            group="place",
        )
    return finding


def _by_labels(finding: Finding, shift: TokenShift, usual: float) -> Finding:
    """The hard-label loss against the labels that the teacher foretells. usual: its accuracy on held-out rows."""
    errors = shift.hard_errors
    if errors is None or shift.margin < CLEAR:
        return finding
    used = min(errors, key=lambda k: errors[k])
    if errors[used] > IDENTITY:
        return finding
    right = shift.labels_at
    text = f"the hard-label loss is the cross-entropy with the label {_place(used)}"
    if used == right:
        if finding.supporting:
            return finding
        return finding.against(
            PROBE,
            "label_shift",
            float(used),
            f"{text}, which is what the teacher foretells",
            grade=Grade.PROOF,
            group="labels",
        )
    if shift.accuracy[right] < RESTORED * usual:
        return finding
    return finding.supported_by(
        PROBE,
        "label_shift",
        float(used),
        f"{text}; the teacher foretells the one {_place(right)}: {shift.accuracy[right]:.1%} right, against "
        f"{shift.accuracy[used]:.1%}",
        threshold=float(right),
        grade=Grade.PROOF,
        group="labels",
    )


def _place(shift: int) -> str:
    if shift == 0:
        return "at its own position"
    return f"{abs(shift)} position{'s' if abs(shift) > 1 else ''} {'later' if shift > 0 else 'earlier'}"
