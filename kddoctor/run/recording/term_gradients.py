"""The gradients of a loss and its terms in the student's logits: their norms, weights and angle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kddoctor.run.arrays import Array

# Cosine of two gradients from which their weights cannot be told apart.
ALIKE = 0.999


def gradient_facts(student_logits: object, values: Mapping[str, Any]) -> tuple[dict[str, float], float | None]:
    """(norms and weights under the names of steps.safetensors, cosine of the two terms' gradients if it is finite).

    values: "loss" and its terms, as the loop has them, before its backward().
    """
    terms = {"kd": values.get("kd_loss"), "ce": values.get("ce_loss"), "loss": values.get("loss")}
    found = {name: _vector(gradient) for name, gradient in term_gradients(student_logits, terms).items()}
    with np.errstate(all="ignore"):  # what is not finite is told by the values, not by a warning in the user's loop
        facts = {f"{name}_grad_norm": _norm(gradient) for name, gradient in found.items()}
        facts |= gradient_weights(found)
        if "kd" not in found or "ce" not in found:
            return facts, None
        scale = facts["kd_grad_norm"] * facts["ce_grad_norm"]
        cosine = float(found["kd"] @ found["ce"]) / scale if scale else 0.0
    return facts, cosine if math.isfinite(cosine) else None


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


def gradient_weights(gradients: Mapping[str, Array]) -> dict[str, float]:
    """How much of each term's gradient the total's gradient holds: kd_grad_weight and ce_grad_weight.

    gradients: by name, each [n]. Least squares of the total's gradient on those of the terms; a term without one counts
    nothing. Left out where two gradients are too alike to be told apart.
    """
    target = gradients.get("loss")
    terms = [name for name in ("kd", "ce") if name in gradients and gradients[name].any()]
    if target is None or not terms:
        return {}
    columns = np.stack([gradients[name] for name in terms])
    inner, right = columns @ columns.T, columns @ target
    if not (np.isfinite(inner).all() and np.isfinite(right).all()):
        return {}
    norms = np.sqrt(inner.diagonal())
    scaled = inner / norms[:, None] / norms[None]
    if len(terms) == 2 and abs(scaled[0, 1]) > ALIKE:
        return {}
    weights = np.linalg.solve(scaled, right / norms) / norms
    residual = _norm(target - weights @ columns) / max(_norm(target), 1e-30)
    return {f"{name}_grad_weight": float(weight) for name, weight in zip(terms, weights, strict=True)} | {
        "grad_weight_residual": residual
    }


def _vector(gradient: Tensor) -> Array:
    # In numpy, whose calls on a few numbers cost a fraction of torch's.
    flat: Array = gradient.flatten().cpu().double().numpy()
    return flat


def _norm(vector: Array) -> float:
    return math.sqrt(float(vector @ vector)) if vector.size else 0.0


def _has_hooks(tensor: Tensor) -> bool:
    # The user's own hooks on the logits would run once more, and may count or print.
    return bool(tensor._backward_hooks)
