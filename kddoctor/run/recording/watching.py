"""The models of a loop as its forward calls show them, and what of a step can be told from these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from kddoctor.run.recording.backward import Backward
from kddoctor.run.recording.pickup import PickedUp, Root, pick_up, root_of
from kddoctor.run.recording.teachers import Teachers
from kddoctor.run.recording.watch import ModelWatch, Seen

Terms = dict[str, Tensor | float | None]


class Watching:
    """Watches student and teachers until it is closed.

    Where the loop does not hand its loss or its labels to step(), backward() is watched as well, from then on.
    just_began: whether that is so since the last step, of which less is known than of those to come.
    trained_before: whether a teacher ran in training mode before an interruption; None where it did not run.
    beyond_dropout_before: whether anything but its dropout layers was in that mode then.
    wants_terms: whether terms that the loop does not hand over are looked for in this step.
    """

    def __init__(
        self,
        teachers: Teachers,
        student: nn.Module,
        on_error: Callable[[Exception], None],
        wants_terms: Callable[[], bool] = lambda: True,
    ) -> None:
        self.trained_before: bool | None = None
        self.beyond_dropout_before = False
        self._wants_terms = wants_terms
        self.just_began = False
        self._on_error = on_error
        self._teachers = [ModelWatch(member, on_error) for member in teachers.members]
        itself = next((watch for watch in self._teachers if watch.model is student), None)
        self._student = ModelWatch(student, on_error) if itself is None else itself
        self._is_its_own_teacher = itself is not None
        self._backward: Backward | None = None
        self._root: Root | None = None

    @property
    def teacher_trained(self) -> bool | None:
        """Whether a teacher was seen in training mode; None where none was seen at all, or it is the student itself."""
        if self._is_its_own_teacher or not any(watch.forwards for watch in self._teachers):
            return self.trained_before
        return any(watch.trained for watch in self._teachers) or bool(self.trained_before)

    @property
    def teacher_beyond_dropout(self) -> bool:
        """Whether anything but dropout layers was in training mode while a teacher ran."""
        return self.beyond_dropout_before or any(watch.beyond_dropout for watch in self._teachers)

    def pick_up(self, given: dict[str, Tensor | None], loss: Tensor | float | None, terms: Terms) -> PickedUp:
        """The step that the loop says has ended."""
        teachers = [watch.calls for watch in self._teachers]
        if self._is_its_own_teacher:
            # Targets are what no gradient flows through.
            teachers = [[call for call in calls if not call.learns] for calls in teachers]
        found = pick_up(given, loss, terms, self._students_calls(), teachers, self._root, self._looked_at())
        unsaid = loss is None or given.get("labels") is None
        self.just_began = unsaid and self._backward is None and (found.loss is None or "labels" not in found.tensors)
        if self.just_began:
            self._backward = Backward(self._take_root, self._on_error)
        return found

    def forget(self) -> None:
        self._root = None
        for watch in self._watches():
            watch.forget()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The recorder's own forward passes are none of the loop's."""
        before = [(watch, watch.paused) for watch in self._watches()]
        for watch, _ in before:
            watch.paused = True
        try:
            yield
        finally:
            for watch, paused in before:
                watch.paused = paused

    def close(self) -> None:
        self.trained_before, self.beyond_dropout_before = self.teacher_trained, self.teacher_beyond_dropout
        self._root = None
        if self._backward is not None:
            self._backward.close()
        for watch in self._watches():
            watch.close()
        self._teachers = []

    def _watches(self) -> list[ModelWatch]:
        return self._teachers if self._is_its_own_teacher else [*self._teachers, self._student]

    def _students_calls(self) -> list[Seen]:
        calls = self._student.calls
        return [call for call in calls if call.learns] if self._is_its_own_teacher else calls

    def _looked_at(self) -> nn.Module | None:
        return self._student.model if self._wants_terms() else None

    def _take_root(self, loss: Tensor) -> None:
        root = root_of(loss, self._students_calls(), self._looked_at())
        if root.calls:
            self._root = root
