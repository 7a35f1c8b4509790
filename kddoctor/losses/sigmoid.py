"""Distillation of questions of yes or no: binary tasks, scores of items, many labels at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses.rows import divergence, mean_over_rows, that_count


def sigmoid_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """T² KL between the two answers to each question, mean over all that count. Yang et al. 2023.

    student_logits, teacher_logits: any one shape, such as [B] or [B, C] for C labels. mask: the same shape, true where
    a label is known.
    """
    s, t = (_yes_or_no(z / temperature) for z in that_count(mask, student_logits, teacher_logits.detach()))
    return temperature**2 * mean_over_rows(divergence(t, s))


def _yes_or_no(logits: Tensor) -> Tensor:
    """[..., 2] log-probabilities."""
    return torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)], -1)
