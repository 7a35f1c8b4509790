"""How far a record has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def steps_of(state: Mapping[str, Any]) -> int:
    """Steps in a recorder's ``state_dict()``; 0 where it holds none, as in other processes than the first."""
    return int(state.get("live", {}).get("count", 0))
