"""What a pre-flight is given, put in order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.loss_xray.calling import LossCall
from kddoctor.run.manifest import Manifest
from kddoctor.run.recording.batches import Batch, Source
from kddoctor.run.recording.calling import Transform, forward
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.treatment.losses import distillation_loss

Loss = Callable[..., Any]


@dataclass(frozen=True)
class Setting:
    """manifest: what the distillation is meant to be. loss_fn: the loop's own, None for the declared one, sound.
    sources: by split, train and perhaps val. transform: the student's inputs to the teacher's. examples: of a split
    that are looked at. seconds: for all checks together.
    """

    teacher: nn.Module
    student: nn.Module
    optimizers: Sequence[Optimizer]
    sources: dict[str, Source]
    loss_fn: Loss | None
    manifest: Manifest
    transform: Transform | None
    tokenizer: Any
    teacher_tokenizer: Any
    examples: int
    seconds: float

    @property
    def held_out(self) -> str:
        """The split on which the teacher is judged."""
        return "val" if "val" in self.sources else "train"

    def modules(self) -> tuple[nn.Module, ...]:
        """Everything that has a mode and buffers."""
        own = (self.teacher, self.student)
        return (*own, self.loss_fn) if isinstance(self.loss_fn, nn.Module) else own

    def teacher_inputs(self, batch: Batch) -> Any:
        """The batch as the teacher takes it."""
        return batch.inputs if self.transform is None else self.transform(batch.inputs)

    def logits(self, role: str, batch: Batch) -> Tensor:
        """The logits of the "teacher" or the "student" for a batch, in its present mode."""
        if role == "teacher":
            return forward(self.teacher, self.teacher_inputs(batch))
        return forward(self.student, batch.inputs)

    def loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The total, and its terms where they are known. Raises whatever the user's loss raises."""
        if self.loss_fn is not None:
            arguments = (student, teacher, labels) if LossCall(self.loss_fn).takes_labels else (student, teacher)
            return self.loss_fn(*arguments), {}
        meant = self.manifest.distillation
        total, kd, ce = distillation_loss(
            student,
            teacher,
            labels,
            loss=meant.loss if meant.loss in ("kl", "reverse-kl", "jsd", "mse") else "kl",
            temperature=meant.temperature or 1.0,
            alpha=0.5 if meant.alpha is None else meant.alpha,
            temperature_squared=meant.temperature_squared,
            task=self.manifest.task,
        )
        return total, {"kd_loss": kd, "ce_loss": ce}


@contextmanager
def as_in_the_loop(setting: Setting) -> Iterator[None]:
    """The teacher and the loss in the mode that they were handed over in, the student in training mode, gradients on.

    Call it outside of ``undisturbed``: afterwards modes, buffers and random states are what they were.
    """
    handed = {module: module.training for model in setting.modules() for module in model.modules()}
    with undisturbed(*setting.modules()), torch.enable_grad():
        for module, mode in handed.items():
            module.training = mode
            # Batch statistics are written to without a trace that could be undone: these are copies to write to.
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.clone()
        # Loops call student.train() at the start of an epoch; parts that are kept in evaluation mode stay there.
        if not setting.student.training:
            for module in setting.student.modules():
                module.training = True
        yield
