"""Relational distillation: distances and angles between the examples of a batch."""

import torch
from torch import Tensor
from torch.nn import functional as F


def relational_distance(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Huber loss of pairwise distances, each side in units of its own mean distance. Park et al. 2019.

    student_features: [B, D], teacher_features: [B, D'], B at least 2; the widths may differ.
    """
    return F.smooth_l1_loss(_distances(student_features), _distances(teacher_features.detach()))


def relational_angle(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Huber loss of the cosines of all angles i-j-k. Park et al. 2019. Memory grows with B³.

    student_features: [B, D], teacher_features: [B, D'], B at least 3.
    """
    return F.smooth_l1_loss(_angles(student_features), _angles(teacher_features.detach()))


def _distances(features: Tensor) -> Tensor:
    """[B (B − 1) / 2], the mean of which is 1."""
    distances = F.pdist(features.flatten(1))
    return distances / distances.mean().clamp_min(1e-12)


def _angles(features: Tensor) -> Tensor:
    """[B, B, B] cosines: at j, between i and k."""
    flat = features.flatten(1)
    directions = F.normalize(flat[None] - flat[:, None], dim=2)
    return torch.einsum("jid,jkd->jik", directions, directions)
