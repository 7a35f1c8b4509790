"""What autograd's graph tells of a loss that the loop did not hand over: its labels and its label term."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from kddoctor.run.labels import IGNORED

#: Nodes above the student's logits; a loss with more is left alone.
MAX_NODES = 2_000
#: A power of two from here on is the factor of a gradient scaler.
LEAST_SCALE = 128
_CLASSES = ("NllLossBackward0", "NllLoss2DBackward0", "NllLossNdBackward0")
_YES_OR_NO = ("BinaryCrossEntropyWithLogitsBackward0", "BinaryCrossEntropyBackward0")
_MEAN = 1  # of at::Reduction


def above(root: Any, leaves: Collection[Any]) -> tuple[list[Any], set[Any]]:
    """(nodes between a loss and the given ones, in order, those of the given that were met)."""
    wanted, met = set(leaves), set()
    found: list[Any] = []
    waiting, seen = [root], {root}
    while waiting and len(found) < MAX_NODES:
        node = waiting.pop(0)
        if node in wanted:
            met.add(node)
            continue
        found.append(node)
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return found, met


def label_term(nodes: list[Any], logits: Tensor) -> tuple[Tensor | None, float | None, Any]:
    """(labels, value of the label term, its node) of the one node that compares these logits with labels; None where
    unknown.

    logits: [B, C], [B, L, V] or [B]. Labels have the shape that a loop has them in: [B] or [B, L].
    """
    found = [
        (node, labels)
        for node in nodes
        if (target := _target(node)) is not None and (labels := _shaped(target, logits)) is not None
    ]
    if len(found) != 1:
        return None, None, None
    node, labels = found[0]
    return labels, _value(node, nodes), node


def unscaled(root: Tensor) -> Tensor:
    """The value of the loss below the factor of a gradient scaler: a power of two, far above any weight of a loss."""
    node, value = root.grad_fn, root.detach()
    factor = saved(node, "_saved_other") if type(node).__name__ == "MulBackward0" else None
    if isinstance(factor, Tensor) and factor.numel() == 1:
        scale = float(factor)
        if scale >= LEAST_SCALE and scale.is_integer() and int(scale) & (int(scale) - 1) == 0:
            return value / scale
    return value


def _target(node: Any) -> Tensor | None:
    kind = type(node).__name__
    if kind not in (*_CLASSES, *_YES_OR_NO):
        return None
    target = saved(node, "_saved_target")
    if not isinstance(target, Tensor):
        return None
    if kind in _YES_OR_NO and not bool(((target == 0) | (target == 1)).all()):
        return None  # probabilities: a teacher's
    return target.detach()


def _shaped(target: Tensor, logits: Tensor) -> Tensor | None:
    if target.shape == logits.shape or target.shape == logits.shape[:-1]:
        return target
    rows = logits.shape[:-1]
    if len(rows) == 2 and target.numel() == rows.numel():
        return target.reshape(rows)
    if len(rows) == 2 and target.numel() == rows[0] * (rows[1] - 1):
        # Shifted by the loop: the last position is about nothing.
        return pad(target.reshape(rows[0], rows[1] - 1), (0, 1), value=IGNORED)
    return target.reshape(logits.shape) if target.numel() == logits.numel() else None


def _value(node: Any, nodes: list[Any]) -> float | None:
    """Computed again from what the node keeps for its backward pass; only of the kind that is a mean over classes."""
    if type(node).__name__ != "NllLossBackward0" or saved(node, "_saved_reduction") != _MEAN:
        return None
    log_p, target = saved(node, "_saved_self"), saved(node, "_saved_target")
    below = node.next_functions[0][0]
    shared = sum(parent is below for other in nodes for parent, _ in other.next_functions) > 1
    # Log-probabilities that feed another term as well may be those of smoothed labels, whose value is not this one.
    if shared or not isinstance(log_p, Tensor) or not isinstance(target, Tensor):
        return None
    with torch.no_grad():
        loss = torch.nn.functional.nll_loss(
            log_p,
            target,
            weight=saved(node, "_saved_weight"),
            ignore_index=_signed(saved(node, "_saved_ignore_index")),
        )
    return float(loss)


def _signed(number: int) -> int:
    # The node gives -100 as an unsigned number of 64 bits.
    return number - 2**64 if number >= 2**63 else number


def saved(node: Any, name: str) -> Any:
    """What a node keeps for its backward pass; None where it keeps no such thing, or no longer."""
    try:
        return getattr(node, name, None)
    except RuntimeError:  # the loop's backward() has freed it
        return None
