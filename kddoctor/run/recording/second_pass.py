"""The teacher once more, in evaluation mode, on the inputs of a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kddoctor.run.recording.calling import Transform, bare
from kddoctor.run.recording.held import Held
from kddoctor.run.recording.members import members_of
from kddoctor.run.recording.outputs import copied
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.watch import Seen

#: Relative difference of logits that a mean taken twice, in another order or precision, leaves.
ROUNDING = 1e-3


def teacher_again(
    held: Held,
    teachers: Sequence[nn.Module],
    transform: Transform | None,
    on_error: Callable[[Exception], None],
) -> tuple[Tensor | None, Tensor | None]:
    """([B, C], [M, B, C]): its answer, on the teacher's own inputs, or else the student's, and those of its members.

    None where there are no inputs, or they do not suit; and no members of a teacher that is one model. Of several
    teachers the answer is the mean, where the loop's own targets are the mean of what they answered.
    """
    if not teachers:
        return None, None
    if len(teachers) > 1 and not _is_mean(held):
        return None, None
    own = all(seen is not None for seen in held.teachers)
    calls = list(held.teachers) if own else [held.student] * len(teachers)
    if any(call is None or not call.intact for call in calls):
        return None, None
    try:
        found = [
            _answer(bare(model), call, None if own else transform)
            for model, call in zip(teachers, calls, strict=True)
            if call is not None
        ]
    except Exception as error:
        if own:  # the student's inputs need not suit the teacher
            on_error(error)
        return None, None
    if len(found) > 1:
        return torch.stack([answer for answer, _ in found]).mean(0), None  # whose own answers are recorded anyhow
    return found[0]


def _answer(teacher: nn.Module, call: Seen, transform: Transform | None) -> tuple[Tensor, Tensor | None]:
    with undisturbed(teacher), members_of(teacher) as members:
        whole = call.again(teacher, transform)
        return copied(whole), members.answers(whole)


def _is_mean(held: Held) -> bool:
    answers = [None if seen is None else seen.logits for seen in held.teachers]
    used = held.tensors.get("teacher_logits")
    if used is None or any(answer is None or answer.shape != used.shape for answer in answers):
        return False
    mean = torch.stack([copied(answer) for answer in answers if answer is not None]).mean(0)
    return bool(torch.allclose(mean, copied(used), rtol=ROUNDING, atol=ROUNDING))
