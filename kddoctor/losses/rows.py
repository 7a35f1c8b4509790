"""What all losses on logits share: which rows count, and by how much."""

import torch
from torch import Tensor
from torch.nn import functional as F


def that_count(mask: Tensor | None, *arrays: Tensor) -> tuple[Tensor, ...]:
    """The rows of each array for which mask [...] is true; all of them without a mask.

    Left out before anything is computed: what a padded row holds may be infinite, and no factor makes that harmless.
    """
    return arrays if mask is None else tuple(array[mask] for array in arrays)


def mean_over_rows(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ w v / Σ w; 0, with a gradient, where there is no row or no weight.

    values: one number a row. weights: like values, not negative.
    """
    if not values.numel():
        return values.sum()
    if weights is None:
        return values.mean()
    counts = weights.to(values.dtype)
    return (values * counts).sum() / counts.sum().clamp_min(torch.finfo(values.dtype).tiny)


def log_probabilities(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """log softmax(z / T) over the last axis, in float32 at least: half precision loses small probabilities."""
    wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    return F.log_softmax(wide / temperature, -1)


def divergence(of: Tensor, to: Tensor) -> Tensor:
    """KL(of ‖ to) of each row, from log-probabilities [..., C] -> [...]; classes without mass add nothing."""
    return F.kl_div(to, of, reduction="none", log_target=True).masked_fill(of.isneginf(), 0.0).sum(-1)
