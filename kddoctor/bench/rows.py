"""Logits of any task as rows of class logits, the way a loop hands them to its losses."""

import torch
from torch import Tensor

#: Label of a position that does not count, as in PyTorch's cross-entropy.
IGNORED = -100


def class_rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """[n, C] logits and [n] labels. One logit a row ([B], yes or no) becomes [0, z]; tokens lose ignored positions."""
    if logits.ndim == 1:
        return torch.stack([torch.zeros_like(logits), logits], dim=1), labels.long()
    flat, truth = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    if logits.ndim == 2:
        return flat, truth
    counts = truth != IGNORED
    return flat[counts], truth[counts]
