"""Distillation of the similarities within a batch: CKA, probabilistic, and similarity-preserving."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses.rows import divergence


def cka_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """1 − linear CKA of one batch. Kornblith et al. 2019; as a loss, Saha et al. 2022.

    student_features: [B, …], teacher_features: [B, …], B at least 2. 0 where one is a rotation and scaling of the
    other.
    """
    ours, theirs = _centred(student_features), _centred(teacher_features.detach())
    shared = (ours.T @ theirs).square().sum()
    sizes = torch.linalg.matrix_norm(ours.T @ ours) * torch.linalg.matrix_norm(theirs.T @ theirs)
    similarity: Tensor = shared / sizes.clamp_min(1e-12)
    return 1 - similarity


def probabilistic_transfer(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """KL of the chances that one example picks another as its neighbour. Passalis and Tefas 2018.

    student_features, teacher_features: [B, …]. The kernel is the cosine, brought to [0, 1]; the term is a mean over
    rows.
    """
    return divergence(_neighbours(teacher_features.detach()), _neighbours(student_features)).mean()


def similarity_preserving(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Squared difference of row-normalised Gram matrices over B². Tung and Mori 2019.

    student_features, teacher_features: [B, …].
    """
    return (_gram(student_features) - _gram(teacher_features.detach())).square().mean()


def _centred(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return flat - flat.mean(0)


def _neighbours(features: Tensor) -> Tensor:
    """[B, B − 1] log-probabilities of the others."""
    unit = F.normalize(features.flatten(1))
    kernel = 0.5 * (unit @ unit.T + 1)
    others = kernel[~torch.eye(len(kernel), dtype=torch.bool)].reshape(len(kernel), -1).clamp_min(1e-12)
    return (others / others.sum(1, keepdim=True)).log()


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return F.normalize(flat @ flat.T)
