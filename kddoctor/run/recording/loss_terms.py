"""The distillation and feature terms of a loss that the loop did not hand over, from autograd's graph of the sum.

The weights stand in the graph, and so does the value of every other term; what they leave of the total is the
distillation term's. Wherever another reading is possible, there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from kddoctor.run.recording.loss_graph import MAX_NODES, above, saved

#: Factors come from Python's numbers, or from tensors of single precision.
ROUNDING = 1e-6
#: Share of the total below which what the other terms leave is mostly rounding.
LEAST_SHARE = 0.01
#: Different numbers in a row of a teacher's targets; smoothed or mixed labels have at most three.
LEAST_DIFFERENT = 4
#: Classes of a row that are looked at for that.
FIRST = 64
_PRECISE = (torch.float32, torch.float64)
_REDUCTIONS = {1: "mean", 2: "sum"}
#: What makes one number of many. Where the numbers are made by something else, a weight may be hidden in it.
_SUMS = ("Sum", "Mean", "KlDiv", "MseLoss", "SmoothL1Loss", "HuberLoss", "BinaryCrossEntropy")


@dataclass(frozen=True)
class _Addend:
    """One term of the sum. factors: of numbers, outermost first. node: where it is no product with a number."""

    factors: tuple[float, ...]
    node: Any

    @property
    def weight(self) -> float:
        return math.prod(self.factors)


class _UnknownError(Exception):
    """The graph can be read in more ways than one."""


def other_terms(
    loss: Tensor, logits: Tensor, label_node: Any, label_value: float | None, student: nn.Module
) -> dict[str, float]:
    """kd_loss and feature_loss, as they enter the total before their weights, where both are certain.

    logits: the student's, which the loss holds. label_node, label_value: the term that compares them with labels.
    """
    if loss.dtype not in _PRECISE or loss.grad_fn is None or logits.grad_fn is None:
        return {}
    try:
        outer, addends = _addends(loss.grad_fn)
        label = [addend for addend in addends if addend.node is label_node]
        if label_node is not None and (len(label) != 1 or label_value is None):
            return {}
        rest = [addend for addend in addends if addend.node is not label_node]
        features = [addend for addend in rest if not _holds(addend.node, logits.grad_fn)]
        teachers = [addend for addend in rest if addend not in features]
        if len(teachers) != 1 or not type(teachers[0].node).__name__.startswith(_SUMS):
            return {}
        if not _compares_with_teacher(teachers[0].node, logits):
            return {}
        return _terms(float(loss.detach()) / outer, label, label_value, features, teachers[0], logits.grad_fn, student)
    except _UnknownError:
        return {}


def _terms(
    total: float,
    label: Sequence[_Addend],
    label_value: float | None,
    features: Sequence[_Addend],
    kd: _Addend,
    top: Any,
    student: nn.Module,
) -> dict[str, float]:
    values = [_squared_error(addend) for addend in features]
    known = sum(addend.weight * value for addend, value in zip(features, values, strict=True))
    if label and label_value is not None:
        known += label[0].weight * label_value
    found: dict[str, float] = {}
    left = total - known
    weight = _weight(kd, top, label[0].weight if label else None)
    if weight and math.isfinite(left) and abs(left) >= LEAST_SHARE * abs(total):
        found["kd_loss"] = left / weight
    if features and len({addend.weight for addend in features}) == 1 and _learns(features, student):
        found["feature_loss"] = sum(values)
    return found


def _addends(root: Any) -> tuple[float, list[_Addend]]:
    """(factor of the whole sum, its terms). A single term keeps its factors for itself."""
    outer, node = _unwrapped(root)
    if type(node).__name__ not in ("AddBackward0", "SubBackward0"):
        return 1.0, [_Addend(outer, node)]
    found: list[_Addend] = []
    waiting: list[tuple[tuple[float, ...], Any]] = [((), node)]
    while waiting:
        factors, node = waiting.pop()
        more, node = _unwrapped(node)
        factors = (*factors, *more)
        kind = type(node).__name__
        if kind not in ("AddBackward0", "SubBackward0"):
            found.append(_Addend(factors, node))
            continue
        (first, _), (second, _) = node.next_functions
        if first is None or second is None or len(found) + len(waiting) > MAX_NODES:
            raise _UnknownError  # a number was added, which the graph does not hold
        alpha = float(saved(node, "_saved_alpha")) * (-1 if kind == "SubBackward0" else 1)
        waiting += [(factors, first), (factors if alpha == 1 else (*factors, alpha), second)]
    return math.prod(outer), found


def _unwrapped(node: Any) -> tuple[tuple[float, ...], Any]:
    """(factors by which a number is multiplied, the node that makes the number)."""
    factors: list[float] = []
    while (step := _scaled(node)) is not None:
        factor, node = step
        if factor is not None:
            factors.append(factor)
    return tuple(factors), node


def _scaled(node: Any) -> tuple[float | None, Any] | None:
    """(factor, None where it is one, what it is multiplied with), of a node that multiplies with a number."""
    kind = type(node).__name__
    below = [parent for parent, _ in node.next_functions if parent is not None]
    if len(below) != 1:
        return None
    if kind == "NegBackward0":
        return -1.0, below[0]
    if kind == "ToCopyBackward0":
        return None, below[0]
    if kind not in ("MulBackward0", "DivBackward0", "DivBackward1"):
        return None
    other = saved(node, "_saved_other")
    if other is None and kind == "MulBackward0":
        other = saved(node, "_saved_self")  # the number stood on the left
    if isinstance(other, Tensor):
        if other.numel() != 1 or other.requires_grad:
            return None
        other = float(other)
    if not isinstance(other, int | float) or not math.isfinite(other) or other == 0:
        return None
    return (float(other) if kind == "MulBackward0" else 1 / other), below[0]


def _weight(kd: _Addend, top: Any, labels: float | None) -> float | None:
    """The weight of the distillation term: its factors less those that are its own, T² and the mean over the rows."""
    complement = None if labels is None else 1 - labels
    factors = list(kd.factors)
    if factors and type(kd.node).__name__ == "SumBackward0" and _alike(factors[-1], 1 / _rows(kd.node)):
        factors.pop()
    weights = [factor for factor in factors if complement and _alike(factor, complement)]
    temperature = _temperature(kd.node, top)
    if temperature is None:
        return None
    squared = temperature**2
    if complement and squared != 1 and _alike(complement, squared):
        return None
    if len(weights) == 1:
        return weights[0]
    if complement and squared != 1 and _alike(math.prod(factors), complement * squared):
        return complement
    without = [_without(factors, own) for own in ([squared], [temperature, temperature])]
    rest = next((left for left in without if left is not None), None)
    if rest is not None and squared != 1:
        return math.prod(rest)
    return math.prod(factors) if not factors or (complement and _alike(math.prod(factors), complement)) else None


def _without(factors: Sequence[float], own: Sequence[float]) -> list[float] | None:
    """The factors less these, None where they are not among them."""
    left = list(factors)
    for factor in own:
        match = [each for each in left if _alike(each, factor)]
        if len(match) < 1:
            return None
        left.remove(match[0])
    return left


def _temperature(node: Any, top: Any) -> float | None:
    """By which the logits are divided on their way to this node; None where they are used in several ways."""
    nodes, _ = above(node, [top])
    found: set[float] = set()
    waiting = _users(nodes, top)
    while waiting:
        user = waiting.pop()
        step = _scaled(user)
        if step is not None and step[0] is None:  # another precision
            waiting += _users(nodes, user)
        else:
            found.add(1.0 if step is None or step[0] is None else 1 / step[0])
    return found.pop() if len(found) == 1 else None


def _users(nodes: Sequence[Any], of: Any) -> list[Any]:
    return [each for each in nodes if any(parent is of for parent, _ in each.next_functions)]


def _compares_with_teacher(node: Any, logits: Tensor) -> bool:
    """Whether fixed numbers enter between the logits and this node that may be a teacher's, and no labels'."""
    nodes, _ = above(node, [logits.grad_fn])
    kept = [saved(each, name) for each in nodes for name in ("_saved_target", "_saved_self", "_saved_other")]
    return any(_is_a_teachers(value, logits) for value in kept if isinstance(value, Tensor))


def _is_a_teachers(value: Tensor, logits: Tensor) -> bool:
    if value.requires_grad or not value.is_floating_point() or value.ndim < 2 or len(value) < 2:
        return False
    row = value.detach().flatten(0, -2)[0]
    return len(row) == logits.shape[-1] and len(set(row[:FIRST].tolist())) >= LEAST_DIFFERENT


def _holds(node: Any, top: Any) -> bool:
    nodes, met = above(node, [top])
    if len(nodes) >= MAX_NODES:
        raise _UnknownError
    return bool(met)


def _squared_error(addend: _Addend) -> float:
    """Of a feature term, computed again from what its node keeps."""
    node = addend.node
    given, target, reduction = (saved(node, f"_saved_{name}") for name in ("self", "target", "reduction"))
    if not (isinstance(given, Tensor) and isinstance(target, Tensor) and reduction in _REDUCTIONS):
        raise _UnknownError
    if type(node).__name__ != "MseLossBackward0" or given.dtype not in _PRECISE:
        raise _UnknownError
    with torch.no_grad():
        return float(mse_loss(given, target, reduction=_REDUCTIONS[reduction]))


def _learns(features: Sequence[_Addend], student: nn.Module) -> bool:
    """Whether each of these terms reaches a parameter of the student."""
    own = {id(parameter) for parameter in student.parameters()}
    return all(
        any(id(getattr(node, "variable", None)) in own for node in above(addend.node, ())[0]) for addend in features
    )


def _rows(node: Any) -> int:
    sizes = saved(node, "_saved_self_sym_sizes") or (0,)
    return int(sizes[0]) or 1


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDING)
