"""The manifest, from what the caller says of the distillation and what can be seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from kddoctor.run.manifest import TASKS_WITH_CLASSES, Manifest, manifest_from
from kddoctor.run.recording.batches import Source
from kddoctor.run.recording.process import processes


class Intent:
    """values: as in kd_run.yaml; num_classes may be None until logits tell it. Raises RunError for wrong values."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        names = self._values.get("class_names")
        # Now rather than after days of training; the number of classes may not be known yet.
        stand_in = self._values.get("num_classes") or (len(names) if names is not None else 2)
        manifest_from({**self._values, "num_classes": stand_in})

    @property
    def task(self) -> str:
        return str(self._values["task"])

    def manifest(self, num_classes: int | None) -> Manifest:
        """num_classes: as the logits have it, for tasks of classes where nobody said."""
        values = dict(self._values)
        if values["num_classes"] is None and self.task in TASKS_WITH_CLASSES:
            values["num_classes"] = num_classes
        return manifest_from(values)


def seen_training(optimizers: Sequence[Optimizer], sources: Mapping[str, Source]) -> dict[str, object]:
    """What can be told about the training without asking."""
    seen: dict[str, object] = {}
    if optimizers:
        seen["optimizer"] = type(optimizers[0]).__name__.lower()
        group = optimizers[0].param_groups[0]
        seen["learning_rate"] = float(group["lr"])
        seen |= {key: float(group[key]) for key in ("momentum", "weight_decay") if group.get(key)}
    if "train" in sources and sources["train"].declared_batch_size is not None:
        seen["batch_size"] = sources["train"].declared_batch_size * processes()  # of one update
    return seen
