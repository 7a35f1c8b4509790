"""What a newly trained model answers to the very rows that a run recorded."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Subset

from kddoctor.errors import RunError
from kddoctor.run.arrays import Array
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.predictions import Predictions
from kddoctor.run.recording.labelling import class_labels
from kddoctor.run.recording.outputs import copied
from kddoctor.treatment.code_loading import NamedCode
from kddoctor.treatment.training import answer, batches, transformed

BATCH = 256


def check_rows(run: Run, split: str, code: NamedCode) -> None:
    """Raises RunError where ``code.<split>_data`` does not begin with the rows that the run recorded, by their labels.

    A model's answers to it would stand beside other examples.
    """
    part, key = _part(run, split), f"{split}_data"
    recorded, start = part.labels.read(), 0
    for _, labels in batches(run.manifest, key, lambda: _first_rows(code, part)):
        found = class_labels(copied(labels), labels, run.manifest.task)["labels"]
        there = recorded[start : start + len(labels)]
        if run.manifest.task == "tokens":
            found = _to_length(found, there.shape[1], IGNORED)
        equal = (found.reshape(len(there), -1).numpy() == there.reshape(len(there), -1)).all(axis=1)
        if not equal.all():
            row = f"data with another label in row {start + int(np.argmin(equal))}"
            raise RunError(
                MANIFEST_FILE, f"code.{key}", row, f"the rows of {part.file}", "another order, or another split?"
            )
        start += len(labels)
    if start < part.n:
        raise RunError(MANIFEST_FILE, f"code.{key}", f"data of {start} rows", f"the {part.n} rows of {part.file}")


@torch.no_grad()
def answers_on(run: Run, split: str, code: NamedCode, model_key: str, model: nn.Module) -> Array:
    """Logits of the model, in evaluation mode, for the recorded rows of a split; shapes as in the contract.

    The rows are the first of ``code.<split>_data``, in order, which ``check_rows`` has looked at.
    """
    part, key = _part(run, split), f"{split}_data"
    length = part.labels.shape[1] if run.manifest.task == "tokens" else 0
    rows = [
        _as_recorded(run, copied(answer(model_key, model, transformed(code.transform(model_key), inputs))), length)
        for inputs, _ in batches(run.manifest, key, lambda: _first_rows(code, part))
    ]
    return torch.cat(rows).numpy()


def _part(run: Run, split: str) -> Predictions:
    part = run.predictions(split)
    assert part is not None
    return part


def _first_rows(code: NamedCode, part: Predictions) -> DataLoader[Any]:
    data = code.data(f"{part.split}_data")
    return DataLoader(Subset(data, range(min(part.n, len(data)))), BATCH)  # type: ignore[arg-type]


def _as_recorded(run: Run, logits: Tensor, length: int) -> Tensor:
    """As the recorder keeps them: [n] for a single logit, filled up with positions that do not count."""
    if run.manifest.task in ("binary", "ranking"):
        return logits.reshape(len(logits), -1)[:, 0]
    return _to_length(logits, length, 0) if run.manifest.task == "tokens" else logits


def _to_length(values: Tensor, length: int, fill: int) -> Tensor:
    after: tuple[Any, ...] = (*(0, 0) * (values.ndim - 2), 0, length - values.shape[1])
    return pad(values, after, value=fill)
