"""Do teacher and student say the very same?"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Largest |z_T − z_S| over the largest |z_T| of one model run twice; standard errors of an accident.
EQUAL, ERRORS = 1e-3, 2.0


@dataclass(frozen=True)
class Sameness:
    """steps: compared. largest: of max |z_T − z_S| / max |z_T| over the steps. first: the same at the first step.

    equal: steps at which it is below ``EQUAL``. first_skill: what the targets of the first step know of the labels, at
    the least (``skill_at_least``); None where that was not measured.
    """

    steps: int
    largest: float
    first: float
    equal: int = 0
    first_skill: float | None = None


def sameness_of(steps: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Sameness | None:
    """Compare (teacher, student) logits of one step after the other; None without any."""
    found = [
        float(np.abs(teacher - student).max() / max(float(np.abs(teacher).max()), 1e-30)) for teacher, student in steps
    ]
    if not found:
        return None
    return Sameness(len(found), max(found), found[0], sum(value <= EQUAL for value in found))


def skill_at_least(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Accuracy above chance, of what is possible, less two standard errors of chance. Rows [n, C], labels [n]."""
    kept = labels >= 0
    if not kept.any():
        return 0.0
    right = float((logits[kept].argmax(axis=1) == labels[kept]).mean())
    share = np.bincount(labels[kept], minlength=logits.shape[1]) / kept.sum()
    guessed = np.bincount(logits[kept].argmax(axis=1), minlength=logits.shape[1]) / kept.sum()
    chance = float((share * guessed).sum())
    error = float(np.sqrt(chance * (1 - chance) / kept.sum()))
    return (right - chance - ERRORS * error) / max(1 - chance, 1e-9)
