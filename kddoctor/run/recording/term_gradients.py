"""The gradients of a loss and its terms in the student's logits: their norms, weights and angle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Cosine of two gradients from which their weights cannot be told apart.
ALIKE = 0.999


def gradient_facts(student_logits: object, values: Mapping[str, Any]) -> tuple[dict[str, float], float | None]:
    """(norms and weights under the names of steps.safetensors, cosine of the two terms' gradients if it is finite).

    values: "loss" and its terms, as the loop has them, before its backward().
    """
    terms = {"kd": values.get("kd_loss"), "ce": values.get("ce_loss"), "loss": values.get("loss")}
    gradients = term_gradients(student_logits, terms)
    facts = {f"{name}_grad_norm": float(gradient.norm()) for name, gradient in gradients.items()}
    facts |= gradient_weights(gradients)
    if "kd" not in gradients or "ce" not in gradients:
        return facts, None
    kd, ce = gradients["kd"].flatten().double(), gradients["ce"].flatten().double()
    cosine = torch.nn.functional.cosine_similarity(kd, ce, dim=0)
    return facts, float(cosine) if torch.isfinite(cosine) else None


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
