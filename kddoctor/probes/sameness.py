"""Do teacher and student say the very same?"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sameness:
    """steps: compared. largest: of max |z_T − z_S| / max |z_T| over the steps. first: the same at the first step."""

    steps: int
    largest: float
    first: float


def sameness_of(steps: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Sameness | None:
    """Compare (teacher, student) logits of one step after the other; None without any."""
    found = [
        float(np.abs(teacher - student).max() / max(float(np.abs(teacher).max()), 1e-30)) for teacher, student in steps
    ]
    return Sameness(len(found), max(found), found[0]) if found else None
