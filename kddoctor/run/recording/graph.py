"""What a loss depends on: a walk over the graph that autograd has built for it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.run.recording.outputs import version

# A graph larger than this (an unrolled recurrence, say) is left alone rather than kept waiting for.
MAX_NODES = 200_000


class Bystanders:
    """Learnable tensors that no known optimizer holds: does somebody else train them?"""

    def __init__(self) -> None:
        self._known: list[tuple[weakref.ref[Tensor], int]] = []

    def changed(self, leaves: Iterable[Tensor]) -> bool:
        """Whether one that was seen before has been written to since. Remembers these leaves."""
        moved = any((leaf := known()) is not None and version(leaf) != before for known, before in self._known)
        self._known = [(weakref.ref(leaf), version(leaf)) for leaf in leaves]
        return moved


def reach(
    values: Mapping[str, object],
    student: nn.Module,
    teacher: nn.Module | None,
    optimized: Iterable[int],
    bystanders: Bystanders,
) -> dict[str, Any]:
    """Which learnable tensors the total and each of its terms depend on.

    values: "loss" and its terms, as the loop has them. optimized: identities of all parameters in the optimizers.
    Returns, by name: how many tensors of the ``student``, of the ``teacher`` and of neither (``other``) a value
    depends on, and of a term whether it is ``in_total``, a part of the total's graph; ``not_in_optimizer``: shapes of
    those others that no optimizer holds; ``trained_elsewhere``: whether these have changed since the last call.
    Empty where the total has no graph.
    """
    total = values.get("loss")
    if not isinstance(total, Tensor) or total.grad_fn is None:
        return {}
    # A term that came as a number may depend on anything.
    nodes = {name: _nodes(value) for name, value in values.items() if isinstance(value, Tensor)}
    if any(found is None for found in nodes.values()):
        return {}
    students = {id(parameter) for parameter in student.parameters()}
    own = () if teacher is None else teacher.parameters()
    teachers = {id(parameter) for parameter in own} - students
    facts: dict[str, Any] = {}
    outside: dict[int, Tensor] = {}
    known = set(optimized)
    for name, found in nodes.items():
        leaves = list(_leaves(found or ()))
        others = [leaf for leaf in leaves if id(leaf) not in students and id(leaf) not in teachers]
        facts[name] = {
            "student": sum(id(leaf) in students for leaf in leaves),
            "teacher": sum(id(leaf) in teachers for leaf in leaves),
            "other": len(others),
        }
        if name != "loss":
            facts[name]["in_total"] = _root(values[name]) in (nodes["loss"] or ())
        outside |= {id(leaf): leaf for leaf in others if id(leaf) not in known}
    # In the graph of the total as well: a term that is only logged needs no optimizer.
    learning = {id(leaf) for leaf in _leaves(nodes["loss"] or ())}
    left_out = [leaf for key, leaf in outside.items() if key in learning]
    return {
        **facts,
        "not_in_optimizer": sorted(list(leaf.shape) for leaf in left_out),
        "trained_elsewhere": bystanders.changed(left_out),
    }


def merged(known: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Two steps' facts as one: the most that either reached."""
    if not known or not new:
        return dict(known or new)
    both: dict[str, Any] = {}
    for name in {**known, **new}:
        one, other = known.get(name), new.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            both[name] = {key: max(one[key], other[key]) for key in one}
        elif name == "trained_elsewhere":
            both[name] = bool(one) or bool(other)
        else:
            both[name] = other if one is None else one
    return both


def expected_gradient_norm(loss: object, student: nn.Module) -> float | None:
    """Norm of the gradient that the loss as it stands has in the student's parameters; None where it cannot be told.

    Hooks of the user's are neither run nor counted, and no ``.grad`` is touched.
    """
    if not isinstance(loss, Tensor) or loss.grad_fn is None:
        return None
    if any(module._backward_hooks or module._backward_pre_hooks for module in student.modules()):
        return None
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    hooks = [(p._backward_hooks, dict(p._backward_hooks)) for p in parameters if p._backward_hooks]
    try:
        for live, _ in hooks:
            live.clear()
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError:  # the graph has been freed, or is one that can be walked once only
        return None
    finally:
        for live, saved in hooks:
            live.update(saved)
    norms = [
        torch.linalg.vector_norm(g.detach()).double().cpu() for g in gradients if g is not None and not g.is_sparse
    ]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def _root(value: object) -> Any:
    return value.grad_fn if isinstance(value, Tensor) else None


def _nodes(value: object) -> set[Any] | None:
    """Every node below a tensor; held, so that their identities last. None where there are too many."""
    root = _root(value)
    found: set[Any] = set() if root is None else {root}
    waiting = list(found)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in found:
                found.add(node)
                waiting.append(node)
        if len(found) > MAX_NODES:
            return None
    return found


def _leaves(nodes: Iterable[Any]) -> Iterator[Tensor]:
    for node in nodes:
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor) and leaf.is_leaf:
            yield leaf
