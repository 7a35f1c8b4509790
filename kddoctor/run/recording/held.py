"""One training step by reference, to be copied if it turns out to be wanted."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kddoctor.run.recording.outputs import version
from kddoctor.run.recording.watch import Seen


class Held:
    """number: of the step. values: the loss and its terms. tensors: logits, labels and the like. student, teachers: the
    forward calls that the logits come from, where these were seen.
    """

    def __init__(
        self,
        number: int,
        values: dict[str, Any],
        tensors: dict[str, Tensor],
        student: Seen | None,
        teachers: tuple[Seen | None, ...],
    ) -> None:
        self.number, self.values, self.tensors = number, values, tensors
        self.student, self.teachers = student, teachers
        self._versions = [version(tensor) for tensor in tensors.values()]

    @property
    def size(self) -> int:
        """Rows of the batch."""
        return len(self.tensors["student_logits"])

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * max(4, tensor.element_size()) for tensor in self.tensors.values())

    @property
    def teacher(self) -> Seen | None:
        """The call of the one teacher there is."""
        return self.teachers[0] if len(self.teachers) == 1 else None

    @property
    def intact(self) -> bool:
        return self._versions == [version(tensor) for tensor in self.tensors.values()]

    def without_graph(self) -> Held:
        """The same step, holding none of the memory that the backward pass would free."""
        same = object.__new__(Held)  # of every step: the versions are those of this one
        same.number, same._versions = self.number, self._versions
        same.values = {n: v.detach() if isinstance(v, Tensor) else v for n, v in self.values.items()}
        same.tensors = {name: value.detach() for name, value in self.tensors.items()}
        same.student = None if self.student is None else self.student.without_graph()
        same.teachers = tuple(None if seen is None else seen.without_graph() for seen in self.teachers)
        return same
