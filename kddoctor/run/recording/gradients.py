"""Which parameters learn: the gradients as the optimizer finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.run.recording.weights_in_buffers import weights_in_buffers

# Every optimizer step at first, then one in this many: looking at a parameter that never gets a gradient
# costs a read from the device.
EVERY_STEP_UNTIL = 50
THEN_EVERY = 20


class GradientWatch:
    """Sees the student's gradients just before each optimizer step.

    without_gradient: names that never had a gradient other than zero. looks: optimizer steps looked at. updates, empty:
    all steps of the first optimizer, and those at which no parameter had a gradient.
    on_norm: called with the gradient's norm where wants_norm() says so, None elsewhere, once an optimizer step.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        optimizers: Sequence[Optimizer],
        *,
        wants_norm: Callable[[], bool],
        on_norm: Callable[[float | None], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.student = student
        self._parameters = list(student.parameters())  # walking through the modules at each step would take longer
        shared = {id(parameter) for parameter in student.parameters()}
        # None where there is no teacher to look at.
        self._teachers_own = None if teacher is None else [p for p in teacher.parameters() if id(p) not in shared]
        self.optimizers = list(optimizers)
        self.without_gradient = {name for name, _ in student.named_parameters()}
        self.looks = self.updates = self.empty = 0
        self.teacher_had_gradient = False
        self._wants_norm, self._on_norm, self._on_error = wants_norm, on_norm, on_error
        self._handles = [optimizer.register_step_pre_hook(self._before_step) for optimizer in self.optimizers]

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        try:
            self.look()
            if optimizer is self.optimizers[0]:
                self.updates += 1
                self.empty += all(parameter.grad is None for parameter in self._parameters)
                self._on_norm(_unscaled_norm(self._parameters, optimizer) if self._wants_norm() else None)
        except Exception as error:
            self._on_error(error)

    def look(self) -> None:
        """Take note of the gradients that there are now."""
        self.looks += 1
        if self.looks > EVERY_STEP_UNTIL and self.looks % THEN_EVERY:
            return
        if not self.teacher_had_gradient:
            own = self._teachers_own or ()
            self.teacher_had_gradient = any(p.grad is not None for p in own if p.requires_grad)
        if self.without_gradient:
            for name, parameter in self.student.named_parameters():
                if name in self.without_gradient and _moves(parameter.grad):
                    self.without_gradient.discard(name)

    def optimized(self) -> set[int]:
        """Identities of every parameter in the optimizers."""
        return {id(p) for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]}

    def observations(self) -> dict[str, object]:
        """The keys of observations.json that gradients and optimizers tell about."""
        frozen = [name for name, parameter in self.student.named_parameters() if not parameter.requires_grad]
        hidden = [name for _, _, name, _ in weights_in_buffers(self.student)]
        facts: dict[str, object] = {"frozen_parameters": [*frozen, *hidden]}
        optimized = self.optimized()
        if self._teachers_own is not None:
            in_optimizer = any(id(p) in optimized for p in self._teachers_own if p.requires_grad)
            facts["teacher_requires_grad"] = self.teacher_had_gradient or in_optimizer
        if self.optimizers:
            facts["updates"] = {"all": self.updates, "empty": self.empty}
            facts["weight_decay"] = max(_weight_decays(self.optimizers), default=0.0)
            facts["parameters_not_in_optimizer"] = [
                name
                for name, parameter in self.student.named_parameters()
                if parameter.requires_grad and id(parameter) not in optimized
            ]
        names = [name for name, _ in self.student.named_parameters()]
        if self.looks and len(self.without_gradient) < len(names):
            facts["parameters_without_gradient"] = [name for name in names if name in self.without_gradient]
        elif self.looks and self.optimizers:
            facts["parameters_without_gradient"] = names
        return facts

    def state_dict(self) -> dict[str, Any]:
        return {
            "without_gradient": sorted(self.without_gradient),
            "looks": self.looks,
            "updates": [self.updates, self.empty],
            "teacher_had_gradient": self.teacher_had_gradient,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.without_gradient &= set(state["without_gradient"])
        self.looks, self.teacher_had_gradient = state["looks"], state["teacher_had_gradient"]
        self.updates, self.empty = state.get("updates", (0, 0))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _weight_decays(optimizers: Iterable[Optimizer]) -> Iterator[float]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(decay := group.get("weight_decay"), float | int):
                yield float(decay)


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """The L2 norm of all gradients together; 0 without any."""
    gradients = [
        grad.coalesce().values() if grad.is_sparse else grad
        for grad in (parameter.grad for parameter in parameters)
        if grad is not None
    ]
    if not gradients:
        return 0.0
    # All of a device at once, as clip_grad_norm_ does: one by one, a small model waits for Python alone.
    norms = torch._foreach_norm(gradients)
    try:
        together = torch.stack(norms)
    except RuntimeError:  # on several devices
        together = torch.stack([norm.float().cpu() for norm in norms])
    return float(torch.linalg.vector_norm(together))


def _unscaled_norm(parameters: Iterable[Tensor], optimizer: Optimizer) -> float:
    # A fused optimizer divides by the gradient scaler's factor itself, so that it gets gradients with it.
    scale = getattr(optimizer, "grad_scale", None)
    return gradient_norm(parameters) / (1.0 if scale is None else float(scale))


def _moves(gradient: Tensor | None) -> bool:
    if gradient is None:
        return False
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.detach().ne(0).any())  # NaN is not zero, and counts
