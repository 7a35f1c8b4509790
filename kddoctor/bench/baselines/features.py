"""Every number of every measurement under a stable name, for judges that learn from examples.

Names follow from the types alone, so that two runs have the same ones whatever was recorded of them.
"""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from kddoctor.engine.types import Outcome
from kddoctor.probes.layer_similarity import LayerSimilarity
from kddoctor.rules.registry import all_rules
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Numbers that say nothing about a run.
MEANINGLESS = frozenset({"seed", "format"})
UNKNOWN = float("nan")
Row = Mapping[str, Any]


def features_of(measured: Mapping[type, object], metrics: Sequence[Row] = ()) -> dict[str, float]:
    """Numbers by name; NaN where something was not measured, is not a number, or is infinite.

    Of arrays mean, min, max, first and last; of choices one 0 or 1 each; of lists their length. metrics: the rows of
    metrics.jsonl, for a few more numbers below ``log``.
    """
    found = {
        name: value
        for kind in measurement_types()
        for name, value in _numbers(kind.__name__, Union[kind, None], measured.get(kind))  # noqa: UP007
    }
    return found | {f"log.{name}": _number(value) for name, value in _log(metrics).items()}


@cache
def measurement_types() -> tuple[type, ...]:
    """What ``kddoctor.engine.measuring.measure`` may find: all that any rule reads, and what the engine looks at."""
    read = {kind for rule in all_rules().values() for kind in (*rule.reads, *rule.uses)}
    return tuple(sorted(read | {LayerSimilarity, Manifest, Observations, Outcome}, key=lambda kind: kind.__qualname__))


def table(examples: Sequence[Mapping[str, float]], names: Sequence[str]) -> NDArray[np.float64]:
    """[examples, names], NaN where an example lacks a name."""
    rows = [[features.get(name, UNKNOWN) for name in names] for features in examples]
    return np.array(rows, float).reshape(len(examples), len(names))


# Measurements --------------------------------------------------------------------------------------------


def _numbers(name: str, kind: Any, value: object) -> Iterator[tuple[str, float]]:
    """The names that a type has, with the numbers of this value; value is None where there is none."""
    options, optional = _options(kind)
    if optional:
        yield f"{name}.known", float(value is not None)
    # Of alternatives the first counts: a number before a name for it.
    first = options[0]
    origin = get_origin(first)
    if origin is Literal:
        for choice in get_args(first):
            yield f"{name}={choice}", UNKNOWN if value is None else float(value == choice)
    elif first in (bool, int, float):
        yield name, _number(value)
    elif origin is np.ndarray or (origin in (tuple, list) and get_args(first)[0] in (bool, int, float)):
        yield from _summary(name, value)
    elif origin in (tuple, list):
        items = list(value) if isinstance(value, list | tuple) else []
        yield f"{name}.count", UNKNOWN if value is None else float(len(items))
        if _has_parts(get_args(first)[0]):
            yield from _numbers(f"{name}.first", get_args(first)[0], items[0] if items else None)
    elif _has_parts(first):
        for part, part_kind in _parts(first):
            yield from _numbers(f"{name}.{part}", part_kind, None if value is None else getattr(value, part))


def _options(kind: Any) -> tuple[list[Any], bool]:
    """(alternatives without None, whether None is one)."""
    if get_origin(kind) not in (Union, types.UnionType):
        return [kind], False
    options = [option for option in get_args(kind) if option is not type(None)]
    return options, len(options) < len(get_args(kind))


def _has_parts(kind: Any) -> bool:
    return isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, BaseModel))


@cache
def _parts(kind: type) -> tuple[tuple[str, Any], ...]:
    """Fields with their types, then properties that are numbers."""
    hints = get_type_hints(kind)
    names = list(kind.model_fields) if issubclass(kind, BaseModel) else [f.name for f in fields(kind)]  # type: ignore[arg-type]
    own = [(name, hints[name]) for name in names if name not in MEANINGLESS]
    derived = []
    for name, member in vars(kind).items():
        if isinstance(member, property) and member.fget is not None:
            returned = get_type_hints(member.fget)["return"]
            if _options(returned)[0][0] in (bool, int, float):
                derived.append((name, returned))
    return (*own, *derived)


def _number(value: object) -> float:
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        return UNKNOWN
    number = float(value)
    return number if np.isfinite(number) else UNKNOWN


def _summary(name: str, value: object) -> Iterator[tuple[str, float]]:
    values = np.ravel(np.asarray(value, float)) if isinstance(value, np.ndarray | list | tuple) else np.empty(0)
    finite = values[np.isfinite(values)]
    for part, reduce in (("mean", np.mean), ("min", np.min), ("max", np.max)):
        yield f"{name}.{part}", float(reduce(finite)) if len(finite) else UNKNOWN
    for part, at in (("first", 0), ("last", -1)):
        yield f"{name}.{part}", _number(float(values[at])) if len(values) else UNKNOWN


# The log -------------------------------------------------------------------------------------------------


def _log(metrics: Sequence[Row]) -> dict[str, float]:
    train = [row for row in metrics if row.get("split", "train") == "train"]
    held_out = [row for row in metrics if row.get("split") == "val"]
    loss, rate, norm = (_series(train, key) for key in ("loss", "lr", "grad_norm"))
    accuracy = _series(held_out, "student_accuracy")
    finite = loss[np.isfinite(loss)]
    first, last = _at(finite, 0), _at(finite, -1)
    return {
        "first_loss": first,
        "last_loss": last,
        "loss_ratio": last / first if first else UNKNOWN,
        "nonfinite_losses": float(len(loss) - len(finite)),
        "first_rate": _at(rate, 0),
        "last_rate": _at(rate, -1),
        "first_grad_norm": _at(norm, 0),
        "median_grad_norm": float(np.median(norm)) if len(norm) else UNKNOWN,
        "last_grad_norm": _at(norm, -1),
        "last_accuracy": _at(accuracy, -1),
        "best_accuracy": float(accuracy.max()) if len(accuracy) else UNKNOWN,
    }


def _series(rows: Sequence[Row], key: str) -> NDArray[np.float64]:
    return np.array([row[key] for row in rows if isinstance(row.get(key), int | float)], float)


def _at(values: NDArray[np.float64], index: int) -> float:
    return float(values[index]) if len(values) else UNKNOWN
