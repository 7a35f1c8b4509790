"""How large the teacher's logits are at each recorded step, which does not change while the teacher stays the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TeacherSpread:
    """One number for each recorded step, [K], in the order of time.

    step: number of the step. spread: root mean square of the teacher's logits around the mean of their row; of single
    logits around zero. rows: that it was taken from.
    """

    step: NDArray[np.int64]
    spread: Array
    rows: NDArray[np.int64]

    @property
    def begins_late(self) -> bool:
        """Whether the first recorded step comes after more than one update."""
        return int(self.step[0]) > 1

    @property
    def apart(self) -> float:
        """Factor between the first step and whichever later one is nearest to it, all later ones being on one side.

        1 where some are above and some below, and where there is no later one; never below 1.
        """
        if len(self.spread) < 2 or not (self.spread > 0).all():
            return 1.0
        ratios = self.spread[1:] / self.spread[0]
        return max(1.0, float(1 / ratios.max()), float(ratios.min()))


class TeacherSpreadProbe:
    """Accumulates steps, in any order."""

    def __init__(self) -> None:
        self._table: list[tuple[float, float, float]] = []

    def update(self, step: int, teacher: NDArray[np.floating]) -> None:
        """One step: logits [n, C], or [n, 1] of single ones; passed over where there are none or any is not finite."""
        if not teacher.size or not np.isfinite(teacher).all():
            return
        z = teacher.astype(np.float64)
        centred = z - z.mean(axis=1, keepdims=True) if z.shape[1] > 1 else z
        self._table.append((step, float(np.sqrt((centred**2).mean())), len(z)))

    def merge(self, other: "TeacherSpreadProbe") -> None:
        """Add another worker's steps."""
        self._table.extend(other._table)

    def compute(self) -> TeacherSpread | None:
        """None without any step."""
        if not self._table:
            return None
        table = np.array(sorted(self._table), np.float64)
        return TeacherSpread(table[:, 0].astype(np.int64), table[:, 1], table[:, 2].astype(np.int64))
