"""Which parameters learn: the gradients as the optimizer finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Every optimizer step at first, then one in this many: looking at a parameter that never gets a gradient
# costs a read from the device.
EVERY_STEP_UNTIL = 50
THEN_EVERY = 20
# Cosine of two gradients from which their weights cannot be told apart.
ALIKE = 0.999


class GradientWatch:
    """Sees the student's gradients just before each optimizer step.

    without_gradient: names that never had a gradient other than zero. looks: optimizer steps looked at.
    on_norm: called with the gradient's norm where wants_norm() says so.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        wants_norm: Callable[[], bool],
        on_norm: Callable[[float], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.student, self.teacher = student, teacher
        self.optimizers = list(optimizers)
        self.without_gradient = {name for name, _ in student.named_parameters()}
        self.looks = 0
        self.teacher_had_gradient = False
        self._wants_norm, self._on_norm, self._on_error = wants_norm, on_norm, on_error
        self._handles = [optimizer.register_step_pre_hook(self._before_step) for optimizer in self.optimizers]

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        try:
            self.look()
            if optimizer is self.optimizers[0] and self._wants_norm():
                self._on_norm(gradient_norm(self.student))
        except Exception as error:
            self._on_error(error)

    def look(self) -> None:
        """Take note of the gradients that there are now."""
        self.looks += 1
        if self.looks > EVERY_STEP_UNTIL and self.looks % THEN_EVERY:
            return
        if not self.teacher_had_gradient:
            self.teacher_had_gradient = any(p.grad is not None for p in self._teachers_own() if p.requires_grad)
        if self.without_gradient:
            for name, parameter in self.student.named_parameters():
                if name in self.without_gradient and _moves(parameter.grad):
                    self.without_gradient.discard(name)

    def optimized(self) -> set[int]:
        """Identities of every parameter in the optimizers."""
        return {id(p) for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]}

    def observations(self) -> dict[str, object]:
        """The keys of observations.json that gradients and optimizers tell about."""
        facts: dict[str, object] = {
            "frozen_parameters": [n for n, p in self.student.named_parameters() if not p.requires_grad]
        }
        optimized = self.optimized()
        in_optimizer = any(id(p) in optimized for p in self._teachers_own() if p.requires_grad)
        facts["teacher_requires_grad"] = self.teacher_had_gradient or in_optimizer
        if self.optimizers:
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
            "teacher_had_gradient": self.teacher_had_gradient,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.without_gradient &= set(state["without_gradient"])
        self.looks, self.teacher_had_gradient = state["looks"], state["teacher_had_gradient"]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _teachers_own(self) -> list[nn.Parameter]:
        shared = {id(parameter) for parameter in self.student.parameters()}
        return [parameter for parameter in self.teacher.parameters() if id(parameter) not in shared]


def gradient_norm(model: nn.Module) -> float:
    """The L2 norm of all gradients of a model together; 0 without any."""
    norms = [
        torch.linalg.vector_norm(grad.coalesce().values() if grad.is_sparse else grad).float().cpu()
        for grad in (parameter.grad for parameter in model.parameters())
        if grad is not None
    ]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def _moves(gradient: Tensor | None) -> bool:
    if gradient is None:
        return False
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.detach().ne(0).any())  # NaN is not zero, and counts


def term_gradients(student_logits: object, terms: dict[str, object]) -> dict[str, Tensor]:
    """The gradient of each loss term with respect to the student's logits, where the graph still allows it.

    Runs only the part of the graph between term and logits, and touches no ``.grad``. A term is left out
    where backward() has freed the graph, or does not depend on the logits.
    """
    if not isinstance(student_logits, Tensor) or not student_logits.requires_grad or _has_hooks(student_logits):
        return {}
    found = {}
    for name, term in terms.items():
        if not isinstance(term, Tensor) or not term.requires_grad:
            continue
        try:
            (gradient,) = torch.autograd.grad(term, student_logits, retain_graph=True, allow_unused=True)
        except RuntimeError:  # the graph has been freed by the loop's own backward()
            continue
        if gradient is not None:
            found[name] = gradient.detach()
    return found


def gradient_weights(gradients: dict[str, Tensor]) -> dict[str, float]:
    """How much of each term's gradient the total's gradient holds: kd_grad_weight and ce_grad_weight.

    Least squares of the total's gradient on those of the terms; a term without one counts nothing. Left out where two
    gradients are too alike to be told apart.
    """
    total = gradients.get("loss")
    terms = [name for name in ("kd", "ce") if name in gradients and bool(gradients[name].ne(0).any())]
    if total is None or not terms:
        return {}
    target, columns = _vector(total), [_vector(gradients[name]) for name in terms]
    inner = torch.tensor([[float(a @ b) for b in columns] for a in columns], dtype=torch.float64)
    right = torch.tensor([float(a @ target) for a in columns], dtype=torch.float64)
    if not (torch.isfinite(inner).all() and torch.isfinite(right).all()):
        return {}
    norms = inner.diagonal().sqrt()
    scaled = inner / norms[:, None] / norms[None]
    if len(terms) == 2 and float(scaled[0, 1].abs()) > ALIKE:
        return {}
    weights = torch.linalg.solve(scaled, right / norms) / norms
    rest = target - sum(float(weight) * column for weight, column in zip(weights, columns, strict=True))
    residual = float(rest.norm() / target.norm().clamp_min(1e-30))
    found = {f"{name}_grad_weight": float(weight) for name, weight in zip(terms, weights, strict=True)}
    return {**found, "grad_weight_residual": residual}


def _vector(gradient: Tensor) -> Tensor:
    return gradient.flatten().cpu().double()


def _has_hooks(tensor: Tensor) -> bool:
    # The user's own hooks on the logits would run once more, and may count or print.
    return bool(tensor._backward_hooks)
