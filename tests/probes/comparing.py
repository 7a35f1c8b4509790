"""Feeding a probe in pieces, and comparing what it measured."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np


def bounds(rows: int, cuts: Sequence[int]) -> list[slice]:
    """Slices that cover all rows, cut at the given places."""
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    return [slice(a, b) for a, b in pairwise(edges)]


def in_chunks(make: Callable[[], Any], arrays: Sequence[Any], cuts: Sequence[int]) -> Any:
    """One probe, updated with the arrays chunk by chunk."""
    probe = make()
    for rows in bounds(len(arrays[0]), cuts):
        probe.update(*(None if a is None else a[rows] for a in arrays))
    return probe


def merged(make: Callable[[], Any], arrays: Sequence[Any], cuts: Sequence[int]) -> Any:
    """One probe per chunk, merged in order."""
    total = make()
    for rows in bounds(len(arrays[0]), cuts):
        part = make()
        part.update(*(None if a is None else a[rows] for a in arrays))
        total.merge(part)
    return total


def assert_same(first: Any, second: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Both results hold the same numbers, up to rounding."""
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, tuple) and a and hasattr(a[0], "__dataclass_fields__"):
            assert len(a) == len(b), field.name
            for x, y in zip(a, b, strict=True):
                assert_same(x, y, rtol, atol)
        elif a is None or isinstance(a, (str, tuple)):
            assert a == b, field.name
        else:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=field.name)
