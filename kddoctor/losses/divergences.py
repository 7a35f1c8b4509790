"""Distillation by the divergence of softened outputs: forward, reverse, and in between."""

import math

import torch
from torch import Tensor

from kddoctor.losses.rows import divergence, log_probabilities, mean_over_rows, that_count


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float | Tensor = 4.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """T² KL(teacher ‖ student) at temperature T, mean over rows. Hinton et al. 2015, section 2.

    student_logits, teacher_logits: [..., C], raw. mask, weights: [...], rows that count and by how much. The factor T²
    keeps the gradient's size when T changes. The teacher gets no gradient.
    """
    s, t, weights = _rows(student_logits, teacher_logits, temperature, mask, weights)
    return temperature**2 * mean_over_rows(divergence(t, s), weights)


def reverse_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """T² KL(student ‖ teacher): the student keeps to what its teacher finds likely. Gu et al. 2024 (MiniLLM).

    Arguments as for :func:`kd`.
    """
    s, t, weights = _rows(student_logits, teacher_logits, temperature, mask, weights)
    return temperature**2 * mean_over_rows(divergence(s, t), weights)


def jsd_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """T² (β KL(teacher ‖ M) + (1 − β) KL(student ‖ M)), M = β teacher + (1 − β) student. Agarwal et al. 2024.

    beta: in (0, 1); near 0 its gradient is that of forward KL times β, near 1 that of reverse KL times 1 − β.
    Other arguments as for :func:`kd`. Raises ValueError for a beta outside.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta is {beta}; expected a number between 0 and 1, without them")
    s, t, weights = _rows(student_logits, teacher_logits, temperature, mask, weights)
    middle = torch.logaddexp(t + math.log(beta), s + math.log(1 - beta))
    rows = beta * divergence(t, middle) + (1 - beta) * divergence(s, middle)
    return temperature**2 * mean_over_rows(rows, weights)


def _rows(
    student: Tensor, teacher: Tensor, temperature: float | Tensor, mask: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log-probabilities of student and teacher, and the weights, of the rows that count."""
    student, teacher = that_count(mask, student, teacher.detach())
    if weights is not None:
        (weights,) = that_count(mask, weights)
    return log_probabilities(student, temperature), log_probabilities(teacher, temperature), weights
