"""The best epoch of a training, and whether going on is worth it."""

import math
from typing import Any

from torch import Tensor, nn

from kddoctor.treatment.scoring import Score

#: Share of all epochs, and the fewest, for which a student may stay clearly below its best before training is stopped.
PATIENCE, FEWEST = 0.3, 5


class Best:
    """The student's weights at its best epoch.

    The last epoch is kept unless an earlier one was better by more than chance: the best of many noisy figures always
    looks better than it is, and those figures are the ones that are reported.
    """

    def __init__(self, student: nn.Module, epochs: int) -> None:
        """student: the one that is trained. epochs: in all."""
        self._student = student
        self._patience = max(FEWEST, math.ceil(PATIENCE * epochs))
        self._weights: dict[str, Tensor] = {}
        self.best: Score | None = None
        self.last: Score | None = None
        self.since = 0
        #: After every epoch.
        self.values: list[float] = []

    def offer(self, found: Score) -> None:
        """After an epoch."""
        self.last, self.since = found, self.since + 1
        self.values.append(found.value)
        if self.best is None or found.value >= self.best.value:
            self.best, self.since = found, 0
            self._weights = {name: value.detach().clone() for name, value in self._student.state_dict().items()}

    @property
    def fell(self) -> bool:
        """Whether the last epoch is clearly worse than the best."""
        return self.best is not None and self.last is not None and self.best.clearly_above(self.last)

    @property
    def hopeless(self) -> bool:
        """Whether that has lasted too long to go on."""
        return self.fell and self.since >= self._patience

    def settle(self) -> Score:
        """Leave the student as it is, or put it back to its best. Returns the score that it then has."""
        assert self.best is not None
        assert self.last is not None
        if not self.fell:
            return self.last
        self._student.load_state_dict(self._weights)
        return self.best

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: tensors and plain values."""
        scores = {name: vars(value) for name, value in (("best", self.best), ("last", self.last)) if value}
        return {"weights": self._weights, "since": self.since, "scores": scores, "values": list(self.values)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from there."""
        self._weights, self.since = dict(state["weights"]), int(state["since"])
        self.values = [float(value) for value in state["values"]]
        self.best, self.last = (Score(**state["scores"][n]) if n in state["scores"] else None for n in ("best", "last"))
