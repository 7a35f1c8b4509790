"""The student on the same few rows at several moments of its training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from kddoctor.run.arrays import Array
from kddoctor.run.recording.batches import Source
from kddoctor.run.recording.predicting import Predicting
from kddoctor.run.recording.thinning import Thinned
from kddoctor.run.snapshots import EPOCH, LAYERS, LOGITS, STEP

#: Rows of a snapshot, and snapshots that are kept: evenly spaced ones, where more are taken.
ROWS, MOST = 256, 16
#: For an epoch that nobody told.
UNKNOWN = -1

Moment = dict[str, Any]


@dataclass
class SnapshotTaking:
    """Takes snapshots of the student on the first rows of one split. Raises what the student raises."""

    predicting: Predicting
    split: str
    source: Source
    _kept: Thinned[Moment] = field(default_factory=lambda: Thinned(MOST))

    def take(self, step: int, epoch: int | None) -> None:
        """Call it inside ``undisturbed``. Where it is one too many for the even spacing, nothing is run."""
        if not self._kept.wants():
            self._kept.skip()
            return
        student = replace(
            self.predicting,
            models={"student": self.predicting.models["student"]},
            max_examples=min(ROWS, self.predicting.max_examples),
            feature_examples=min(ROWS, self.predicting.feature_examples),
            hashed_examples=min(ROWS, self.predicting.max_examples),
            save_inputs=False,
            cached={},
            row_ids=None,
        )
        record = student.record(self.split, self.source)
        if record.interruption is not None:
            raise record.interruption
        found = {LOGITS: record.predictions.get(LOGITS), **record.features}
        # Half precision: what is drawn from them has three figures.
        moment: Moment = {
            name: torch.from_numpy(array).to(torch.float16 if name != LOGITS else torch.float32)
            for name, array in found.items()
            if array is not None and (name == LOGITS or name.startswith(LAYERS))
        }
        self._kept.keep({**moment, STEP: step, EPOCH: UNKNOWN if epoch is None else int(epoch)})

    def arrays(self, most: int) -> dict[str, Array]:
        """The split's file, of at most ``most`` rows; nothing without a snapshot. Only what every moment has."""
        moments = sorted((moment for _, moment in self._kept.items), key=lambda moment: int(moment[STEP]))
        if not moments:
            return {}
        common = [name for name in moments[0] if all(name in moment for moment in moments)]
        tensors = {name: [moment[name] for moment in moments] for name in common if name not in (STEP, EPOCH)}
        same = {n: parts for n, parts in tensors.items() if len({part.shape[1:] for part in parts}) == 1}
        rows = min((most, *(len(part) for parts in same.values() for part in parts)))
        arrays = {name: np.stack([part[:rows].numpy() for part in parts]) for name, parts in same.items() if rows}
        arrays[STEP] = np.array([moment[STEP] for moment in moments], np.int64)
        epochs = np.array([moment[EPOCH] for moment in moments], np.int64)
        return arrays | ({EPOCH: epochs} if (epochs != UNKNOWN).all() else {})

    def state_dict(self) -> dict[str, Any]:
        return self._kept.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept.load_state_dict(state)
