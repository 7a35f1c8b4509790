"""Decoupled knowledge distillation: the target class and all the others, weighted apart."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses.rows import divergence, log_probabilities


def decoupled_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """T² (w_target KL(target or not) + w_other KL(among the others)). Zhao et al. 2022, equation 7.

    student_logits, teacher_logits: [B, C], C at least 3. labels: [B]. In plain KD the second weight is the teacher's
    mass outside the target class, so a sure teacher teaches nothing about the others; here it is a constant.
    """
    s, t = log_probabilities(student_logits, temperature), log_probabilities(teacher_logits.detach(), temperature)
    target = divergence(_target_or_not(t, labels), _target_or_not(s, labels))
    others = divergence(_among_others(t, labels), _among_others(s, labels))
    return temperature**2 * (target_weight * target + other_weight * others).mean()


def _target_or_not(log_p: Tensor, labels: Tensor) -> Tensor:
    """[B, 2] log-probabilities."""
    return torch.stack([log_p.gather(1, labels[:, None])[:, 0], _others(log_p, labels).logsumexp(1)], 1)


def _among_others(log_p: Tensor, labels: Tensor) -> Tensor:
    """[B, C − 1] log-probabilities, given that it is not the target."""
    return F.log_softmax(_others(log_p, labels), 1)


def _others(log_p: Tensor, labels: Tensor) -> Tensor:
    # Left out rather than set to minus infinity, whose gradient is NaN where a probability is zero.
    keep = ~F.one_hot(labels, log_p.shape[1]).bool()
    return log_p[keep].reshape(len(log_p), -1)
