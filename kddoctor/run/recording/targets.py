"""The teacher's targets of each example, as the loss saw them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kddoctor.run.arrays import Array
from kddoctor.run.recording.outputs import copied
from kddoctor.run.recording.row_hash import row_hashes

#: Passes over the data after which rows that are still missing will not come.
MAX_EPOCHS = 4


class TargetsSeen:
    """The first targets that each example was trained on, by its number where the loop gives that, else by its content.

    capacity: bytes of targets that are kept at most. expected: examples that there are.
    """

    def __init__(self, capacity: int, expected: int) -> None:
        self._left, self._expected = capacity, expected
        self._looked_at = 0
        self._row_of: dict[int, int] = {}
        self._targets: list[Tensor] = []
        self._numbered = False

    @property
    def wanted(self) -> bool:
        if self._left <= 0:
            return False
        return len(self._row_of) < self._expected and self._looked_at < MAX_EPOCHS * self._expected

    def add(self, targets: Tensor, inputs: Tensor | None, numbers: Tensor | None) -> None:
        """Targets [B, …] of the rows of inputs [B, …], or of the examples of these numbers [B]."""
        if not self.wanted or targets.ndim == 0 or not self._will_fit(targets):
            return
        if numbers is None and (inputs is None or inputs.ndim == 0 or len(inputs) != len(targets)):
            return
        if self._row_of and self._numbered != (numbers is not None):
            return
        self._numbered = numbers is not None
        keys = (row_hashes(inputs) if numbers is None else torch.as_tensor(numbers)).tolist()  # type: ignore[arg-type]
        self._looked_at += len(keys)
        fresh: dict[int, int] = {}
        for row, key in enumerate(keys):
            if key not in self._row_of:
                fresh.setdefault(key, row)
        if fresh:
            kept = copied(targets[list(fresh.values())])
            start = len(self._row_of)
            self._row_of |= {key: start + i for i, key in enumerate(fresh)}
            self._targets.append(kept)
            self._left -= kept.numel() * kept.element_size()

    def _will_fit(self, targets: Tensor) -> bool:
        """Whether there is room for all examples at all: some of them alone are of no use."""
        if not self._row_of:
            row_bytes = targets[0].numel() * max(4, targets.element_size()) if len(targets) else 0
            if row_bytes * self._expected > self._left:
                self._left = 0
        return self._left > 0

    def of(self, hashes: Array, rows: int) -> Array | None:
        """[rows, …]: the targets of the first rows of the data; None unless all of them were seen.

        hashes: [rows] as of ``row_hashes``.
        """
        keys = list(range(rows)) if self._numbered else hashes[:rows].tolist()
        if not keys or any(key not in self._row_of for key in keys):
            return None
        if len({part.shape[1:] for part in self._targets}) != 1:
            return None
        whole: Array = torch.cat(self._targets).numpy()[np.array([self._row_of[key] for key in keys])]
        return whole if np.isfinite(whole).all() else None

    def state_dict(self) -> dict[str, Any]:
        return {
            "looked_at": self._looked_at,
            "left": self._left,
            "keys": list(self._row_of),
            "targets": list(self._targets),
            "numbered": self._numbered,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._looked_at, self._left, self._numbered = state["looked_at"], state["left"], state["numbered"]
        self._row_of = {key: row for row, key in enumerate(state["keys"])}
        self._targets = list(state["targets"])
