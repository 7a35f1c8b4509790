"""When a training step is worth keeping for what went wrong in it."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

#: Losses that a new one is compared with, the fewest of them, and how many times the largest makes a jump.
REMEMBERED, FEWEST, JUMP = 20, 10, 3.0
MAX_LISTED = 100


class LossWatch:
    """Tells losses that are not finite, or that jump to a multiple of all recent ones, from the others."""

    def __init__(self) -> None:
        self.nonfinite: list[int] = []
        self.nonfinite_count = 0
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    def trouble(self, step: int, loss: float) -> str | None:
        """ "nonfinite", "spike" or None for the loss of a step."""
        if not math.isfinite(loss):
            self.nonfinite_count += 1
            if len(self.nonfinite) < MAX_LISTED:
                self.nonfinite.append(step)
            return "nonfinite"
        jumped = len(self._recent) >= FEWEST and loss > JUMP * max(self._recent) > 0
        self._recent.append(loss)
        return "spike" if jumped else None

    def state_dict(self) -> dict[str, Any]:
        return {"nonfinite": list(self.nonfinite), "count": self.nonfinite_count, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.nonfinite, self.nonfinite_count = list(state["nonfinite"]), state["count"]
        self._recent = deque(state["recent"], maxlen=REMEMBERED)
