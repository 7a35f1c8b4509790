"""Which of many alike pages CI looks at; ``make test-browser`` looks at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def in_slice(values: Sequence[str], *, kept: Sequence[str]) -> list[Any]:
    """All values as parameters, those that are not kept marked slow. Raises ValueError for one that there is not."""
    unknown = set(kept) - set(values)
    if unknown:
        raise ValueError(f"{sorted(unknown)} are not among {list(values)}")
    return [value if value in kept else pytest.param(value, marks=pytest.mark.slow) for value in values]
