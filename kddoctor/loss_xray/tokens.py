"""Losses over tokens: are ignored positions (-100) left out, of the sum and of what it is divided by?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kddoctor.loss_xray.batches import IGNORED, LOGIT_SCALE, SEED, Batch
from kddoctor.loss_xray.calling import LossCall

#: Sequences, positions (padding included), positions that count. Unequal, so that no axis is taken for another.
SEQUENCES, LENGTH, PADDING = 3, 8, 3
#: Gradient of an ignored position, relative to the largest, that counts as none.
NONE = 1e-6


@dataclass(frozen=True)
class Tokens:
    """left_out: no gradient comes from an ignored position. diluted: more padding changes the loss. shifted: the loss
    pairs position i with label i+1. leak: gradient of ignored positions, relative to the largest.
    """

    left_out: bool
    diluted: bool
    shifted: bool
    leak: float


def tokens(call: LossCall, classes: int, dtype: torch.dtype) -> Tokens | None:
    """None where the loss does not take [B, L, V] logits with labels [B, L]."""
    if not call.takes_labels:
        return None
    batch = _padded(classes, dtype, PADDING)
    try:
        found = call.gradients(batch)
        longer = call.value(_padded(classes, dtype, PADDING + 4))
    except Exception:  # not made for tokens
        return None
    if found.student is None or found.student.shape != batch.student.shape:
        return None
    ignored = batch.labels == IGNORED
    in_place, next_one = _leak(found.student, ignored), _leak(found.student, _next_ignored(ignored))
    leak = min(in_place, next_one)
    changed = abs(longer - found.value) > 1e-4 * max(abs(found.value), 1e-12)
    return Tokens(leak <= NONE, leak <= NONE and changed, next_one < in_place, leak)


def _padded(classes: int, dtype: torch.dtype, padding: int) -> Batch:
    random = torch.Generator().manual_seed(SEED)
    shape = (SEQUENCES, LENGTH - PADDING, classes)
    student, teacher = (LOGIT_SCALE * torch.randn(shape, generator=random, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(classes, shape[:2], generator=random)
    filler = LOGIT_SCALE * torch.randn(2, SEQUENCES, padding, classes, generator=random, dtype=torch.float64)
    return Batch(
        torch.cat([student, filler[0]], 1),
        torch.cat([teacher, filler[1]], 1),
        torch.cat([labels, torch.full((SEQUENCES, padding), IGNORED)], 1),
    ).to(dtype)


def _leak(gradient: Tensor, ignored: Tensor) -> float:
    return float(gradient[ignored].abs().max() / gradient.abs().max().clamp_min(1e-30))


def _next_ignored(ignored: Tensor) -> Tensor:
    """Positions whose next label is ignored, the last one included."""
    return torch.cat([ignored[:, 1:], torch.ones_like(ignored[:, :1])], 1)
