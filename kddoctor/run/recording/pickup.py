"""The logits, labels and loss of a training step, from what was seen of it where the loop did not hand them over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kddoctor.run.recording.batches import LABEL_KEYS
from kddoctor.run.recording.labelling import next_token_labels
from kddoctor.run.recording.loss_graph import above, label_term, unscaled
from kddoctor.run.recording.loss_terms import other_terms
from kddoctor.run.recording.watch import Seen


@dataclass(frozen=True)
class Root:
    """A loss that the loop called backward() on. calls: of the student, as far as the loss holds their logits; terms:
    the values of those of its terms that are certain, by the names of steps.safetensors.
    """

    loss: Tensor
    calls: tuple[Seen, ...]
    labels: Tensor | None
    terms: Mapping[str, float]


@dataclass(frozen=True)
class PickedUp:
    """One step. student, teachers: the calls that its logits come from; None where these did not come from a call.

    tensors: student_logits, teacher_logits, labels and the like. values: the loss and its terms, by the names of
    steps.safetensors. What nobody knows is missing from either.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Tensor | float]
    student: Seen | None
    teachers: tuple[Seen | None, ...]

    @property
    def loss(self) -> Tensor | float | None:
        return self.values.get("loss")


def root_of(loss: Tensor, calls: Sequence[Seen], student: nn.Module | None = None) -> Root:
    """What the graph of a loss tells before backward() frees it. calls: the student's since the last step. student:
    where it is given, other terms than that of the labels are looked for.
    """
    learning = {call.logits.grad_fn: call for call in calls if call.logits is not None and call.learns}
    nodes, met = above(loss.grad_fn, list(learning))
    held = tuple(call for node, call in learning.items() if node in met)
    logits = _together([call.logits for call in held if call.logits is not None])
    if logits is None:
        return Root(unscaled(loss), held, None, {})
    labels, value, node = label_term(nodes, logits)
    terms = {} if value is None else {"ce_loss": value}
    if student is not None:
        terms |= other_terms(loss, logits, node, value, student)
    return Root(unscaled(loss), held, labels, terms)


def pick_up(
    given: Mapping[str, Tensor | None],
    loss: Tensor | float | None,
    terms: Mapping[str, Tensor | float | None],
    student: Sequence[Seen],
    teachers: Sequence[Sequence[Seen]],
    root: Root | None,
    model: nn.Module | None = None,
) -> PickedUp:
    """One step from what the loop gave, its forward calls since the last step, and the loss it went backward from.

    What was given is taken as it is. The student's logits are those of its call that the loss holds, else of the last
    that could learn; the teacher's are of its last call over as many rows, on the same inputs where there is such a
    call. Several calls that are together one batch (micro-batches under one loss) are taken as one. model: the student
    itself, where terms that were not given are looked for.
    """
    unsaid = _lacks(given) or (model is not None and all(value is None for value in terms.values()))
    if root is None and isinstance(loss, Tensor) and loss.grad_fn is not None and unsaid:
        root = root_of(loss, student, model)
    tensors = {name: value for name, value in given.items() if value is not None}
    ours = _students_calls(student, tensors.get("student_logits"), root)
    if "student_logits" not in tensors:
        logits = _together([call.logits for call in ours if call.logits is not None])
        tensors |= {} if logits is None else {"student_logits": logits}
    found = tensors.get("student_logits")
    theirs = [_teachers_call(calls, ours, found) for calls in teachers]
    if "teacher_logits" not in tensors:
        tensors |= _teacher_logits(theirs)
    if "labels" not in tensors:
        labels = _labels(ours, theirs, root)
        tensors |= {} if labels is None else {"labels": labels}
    values = {name: value for name, value in {"loss": loss, **terms}.items() if value is not None}
    if root is not None:
        values.setdefault("loss", root.loss)
        values = {**root.terms, **values}
    one = ours[0] if len(ours) == 1 else None
    calls = tuple(group[0] if len(group) == 1 else None for group in theirs)
    return PickedUp(tensors, values, one, calls)


def _lacks(given: Mapping[str, Tensor | None]) -> bool:
    return given.get("student_logits") is None or given.get("labels") is None


def _students_calls(calls: Sequence[Seen], given: Tensor | None, root: Root | None) -> list[Seen]:
    if given is not None:
        same = [call for call in calls if call.logits is given]
        return same[-1:] or list(calls[-1:])
    if root is not None and root.calls:
        return list(root.calls)
    return [call for call in calls if call.learns][-1:] or list(calls[-1:])


def _teachers_call(calls: Sequence[Seen], ours: Sequence[Seen], logits: Tensor | None) -> list[Seen]:
    """The calls of one teacher that belong to the student's."""
    if logits is None:
        return []
    if len(ours) > 1 and len(calls) >= len(ours) and sum(call.rows or 0 for call in calls[-len(ours) :]) == len(logits):
        return list(calls[-len(ours) :])
    fitting = [call for call in calls if call.rows == len(logits)]
    inputs = ours[0].inputs if len(ours) == 1 else None
    return [call for call in fitting if call.inputs is inputs][-1:] or fitting[-1:]


def _teacher_logits(theirs: Sequence[Sequence[Seen]]) -> dict[str, Tensor]:
    # How a loop puts several teachers together is its own affair: it has to say.
    if len(theirs) != 1:
        return {}
    logits = _together([call.logits for call in theirs[0] if call.logits is not None])
    return {} if logits is None else {"teacher_logits": logits.detach()}


def member_logits(teachers: Sequence[Seen | None], shape: torch.Size) -> Tensor | None:
    """[M, B, C]: what each of several teachers answered; None where that is not known of all, or has other shapes."""
    logits = [None if call is None else call.logits for call in teachers]
    known = [each.detach().to("cpu", torch.float32) for each in logits if each is not None and each.shape == shape]
    return torch.stack(known) if len(known) == len(teachers) > 1 else None


def _labels(ours: Sequence[Seen], theirs: Sequence[Sequence[Seen]], root: Root | None) -> Tensor | None:
    for call in (*ours, *(call for group in theirs for call in group)):
        key = next((key for key in LABEL_KEYS if isinstance(call.kwargs.get(key), Tensor)), None)
        if key is not None and len(ours) == 1:
            return next_token_labels(call.kwargs, call.kwargs[key])
    return None if root is None else root.labels


def _together(logits: Sequence[Tensor]) -> Tensor | None:
    """Micro-batches as one batch; the last of them alone where they do not fit."""
    if len(logits) < 2:
        return logits[0] if logits else None
    alike = all(each.shape[1:] == logits[0].shape[1:] and each.ndim for each in logits)
    return torch.cat(list(logits)) if alike else logits[-1]
