"""Distillation of the order of items: whole lists, pairs, margins."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses.rows import divergence, log_probabilities


def listwise_kd(
    student_scores: Tensor, teacher_scores: Tensor, group_ids: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """KL between the chances of being the list's first item, mean over lists. Cao et al. 2007, top one.

    student_scores, teacher_scores: [N]. group_ids: [N], the query or user of each row; lists of one item say nothing
    and are left out. 0, with a gradient, where there is no other.
    """
    theirs = teacher_scores.detach()
    terms = [
        divergence(log_probabilities(theirs[rows], temperature), log_probabilities(student_scores[rows], temperature))
        for rows in _lists(group_ids)
    ]
    return torch.stack(terms).mean() if terms else 0.0 * student_scores.sum()


def pairwise_kd(
    student_scores: Tensor, teacher_scores: Tensor, group_ids: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Cross-entropy of "i before j" over all pairs of a list, with the teacher's chance as target. Burges et al. 2005.

    Arguments as for :func:`listwise_kd`. Mean over pairs of all lists.
    """
    ours, theirs = _differences(student_scores, group_ids), _differences(teacher_scores.detach(), group_ids)
    if not len(ours):
        return 0.0 * student_scores.sum()
    return F.binary_cross_entropy_with_logits(ours / temperature, torch.sigmoid(theirs / temperature))


def margin_mse(student_scores: Tensor, teacher_scores: Tensor, group_ids: Tensor) -> Tensor:
    """Squared difference of score margins over all pairs of a list. Hofstätter et al. 2020.

    Arguments as for :func:`listwise_kd`. Unlike scores, margins may be compared between models of different scales.
    """
    ours, theirs = _differences(student_scores, group_ids), _differences(teacher_scores.detach(), group_ids)
    return F.mse_loss(ours, theirs) if len(ours) else 0.0 * student_scores.sum()


def _lists(group_ids: Tensor) -> list[Tensor]:
    """Row numbers of each group with two rows or more."""
    counts = torch.unique(group_ids, return_counts=True)[1]
    return [rows for rows in torch.split(group_ids.argsort(stable=True), counts.tolist()) if len(rows) > 1]


def _differences(scores: Tensor, group_ids: Tensor) -> Tensor:
    """Score i − score j of every pair i < j of the same list."""
    found = [torch.combinations(scores[rows]) for rows in _lists(group_ids)]
    pairs = torch.cat(found) if found else scores.new_zeros(0, 2)
    return pairs[:, 0] - pairs[:, 1]
