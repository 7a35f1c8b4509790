"""Weights of rows: whom to believe. For the ``weights`` of :func:`kddoctor.losses.kd`."""

import torch
from torch import Tensor

from kddoctor.losses.rows import log_probabilities


def correctness_weights(teacher_logits: Tensor, labels: Tensor, *, when_wrong: float = 0.0) -> Tensor:
    """[B], 1 where the teacher's answer is the label and ``when_wrong`` elsewhere: its errors are not handed on.

    teacher_logits: [B, C]. labels: [B].
    """
    right = teacher_logits.argmax(-1) == labels
    return torch.where(right, torch.ones_like(right, dtype=teacher_logits.dtype), when_wrong)


def confidence_weights(teacher_logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """[B], the teacher's probability of the label, or of its own answer. Tang et al. 2020 (confidence reweighting).

    teacher_logits: [B, C]. labels: [B]. Against labels it also lowers the weight of rows that may be mislabelled.
    """
    log_p = log_probabilities(teacher_logits.detach(), 1.0)
    chosen = log_p.amax(-1) if labels is None else log_p.gather(-1, labels[..., None])[..., 0]
    return chosen.exp()
