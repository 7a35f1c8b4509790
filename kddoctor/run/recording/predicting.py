"""What both models say about a split, once training is over."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kddoctor.run.arrays import Array
from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.batches import Batch, Source
from kddoctor.run.recording.calling import RowIds, Transform, forward
from kddoctor.run.recording.fingerprinting import fingerprints
from kddoctor.run.recording.input_statistics import InputStatistics
from kddoctor.run.recording.labelling import class_labels
from kddoctor.run.recording.outputs import copied, logits_of, tensors_in

MAX_LOGITS = 1 << 28  # elements of one model's logits on one split: 1 GiB
MAX_FEATURES = 1 << 25  # elements of one layer: 128 MiB
# Examples past max_examples are only hashed, to find duplicates between splits. Decoding a million images
# for that alone would keep the user waiting.
MAX_FINGERPRINTS = 200_000
MAX_HASHING_SECONDS = 30.0
# Above this many classes of a tokens run, the top logits alone are kept.
WHOLE_VOCABULARY = 4096
TOP = 64
ROW_IDS = ("group_ids", "item_ids")


@dataclass
class SplitRecord:
    """Arrays of one split, under the names of the contract."""

    predictions: dict[str, Array] = field(default_factory=dict)
    features: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, Array] = field(default_factory=dict)
    fingerprints: Array | None = None
    statistics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicting:
    """What to record of a split. models: "teacher", "student" and perhaps "baseline". layers: by model."""

    models: Mapping[str, nn.Module]
    layers: Mapping[str, Sequence[str]]
    task: str
    transform: Transform | None
    row_ids: RowIds | None
    max_examples: int
    feature_examples: int
    save_inputs: bool

    def record(self, source: Source) -> SplitRecord:
        """Run all models over the split. Call it inside ``undisturbed``; raises what the models raise."""
        columns: dict[str, list[Tensor]] = {}
        limit, done, hashes = self.max_examples, 0, []
        statistics = InputStatistics()
        only_hashing_since = time.monotonic()
        for batch in source.batches(max(self.max_examples, MAX_FINGERPRINTS)):
            if done < limit:
                only_hashing_since = time.monotonic()
            elif time.monotonic() - only_hashing_since > MAX_HASHING_SECONDS:
                break
            hashes.append(fingerprints(batch.inputs, batch.size))
            if done >= limit:
                continue
            rows, logits = self._rows(batch, want_features=done < self.feature_examples)
            if done == 0:
                limit = min(limit, max(1, MAX_LOGITS // max(1, logits[0].numel())))
            for name, value in rows.items():
                columns.setdefault(name, []).append(value)
            statistics.update(next(tensors_in(batch.inputs), None))
            done += batch.size
        record = self._split(columns, min(done, limit), np.concatenate(hashes) if hashes else None)
        record.statistics = statistics.facts()
        return record

    def _rows(self, batch: Batch, want_features: bool) -> tuple[dict[str, Tensor], Tensor]:
        rows: dict[str, Tensor] = {}
        logits = torch.empty(batch.size)
        teachers = batch.inputs if self.transform is None else self.transform(batch.inputs)
        for name, model in self.models.items():
            layers = self.layers.get(name, ()) if want_features else ()
            with captured(model, layers) as activations:
                logits = forward(model, teachers if name == "teacher" else batch.inputs)
            rows.update(self._logits(name, copied(logits)))
            for layer, value in activations.items():
                if value.ndim and len(value) == batch.size:
                    rows[f"features {name}/{layer}"] = value
        if batch.labels is None:
            raise TypeError("a batch has no labels; expected (inputs, labels) or a dict with labels")
        labels = _shifted(batch.inputs, copied(batch.labels)) if self.task == "tokens" else copied(batch.labels)
        rows["labels"] = class_labels(labels, logits, self.task)["labels"]
        if self.row_ids is not None:
            rows |= {name: copied(ids).long() for name, ids in self.row_ids(batch.inputs).items() if name in ROW_IDS}
        if self.save_inputs and want_features:
            rows.update(_first_tensors(batch.inputs, teachers, batch.size))
        return rows, logits

    def _logits(self, model: str, logits: Tensor) -> dict[str, Tensor]:
        if self.task in ("binary", "ranking") and logits.ndim == 2 and logits.shape[1] == 1:
            logits = logits[:, 0]
        if self.task == "tokens" and logits.shape[-1] > WHOLE_VOCABULARY and model != "baseline":
            top = logits.topk(TOP, dim=-1)
            return {f"{model}_topk_values": top.values, f"{model}_topk_indices": top.indices}
        return {f"{model}_logits": logits}

    def _split(self, columns: dict[str, list[Tensor]], n: int, hashes: Array | None) -> SplitRecord:
        record = SplitRecord(fingerprints=hashes)
        for name, parts in columns.items():
            kind, _, rest = name.partition(" ")
            whole = _joined(name, parts)
            if kind == "features":
                record.features[rest] = whole
            elif kind == "inputs":
                record.inputs[rest] = whole
            else:
                record.predictions[name] = whole[:n]
        if n:
            record.predictions["example_ids"] = np.arange(n)
        for arrays in (record.features, record.inputs):
            _cut(arrays, min(n, self.feature_examples))
        return record


@contextmanager
def captured(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Activations of named layers during a forward pass, each copied at once.

    Copied in the hook: the next layer may be an in-place ReLU, which writes over what this one returned.
    """
    modules = dict(model.named_modules())
    activations: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in layers:

            def keep(_: nn.Module, __: object, output: object, name: str = name) -> None:
                activations[name] = copied(logits_of(output)).float()

            stack.enter_context(_hooked(modules[name], keep))
        yield activations


@contextmanager
def _hooked(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _shifted(inputs: Any, labels: Tensor) -> Tensor:
    """Labels that line up with the logits.

    Language model data gives the input itself as labels, and the model shifts them: the logits at a
    position are about the next token.
    """
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    if ids is None or ids.shape != labels.shape or not bool(((ids.cpu() == labels) | (labels == IGNORED)).all()):
        return labels
    return pad(labels[:, 1:], (0, 1), value=IGNORED)


def _first_tensors(student: Any, teacher: Any, rows: int) -> dict[str, Tensor]:
    found = {"inputs inputs": next(tensors_in(student), None)}
    if teacher is not student:
        found["inputs teacher_inputs"] = next(tensors_in(teacher), None)
    return {name: copied(value) for name, value in found.items() if value is not None and len(value) == rows}


def _joined(name: str, parts: list[Tensor]) -> Array:
    """Batches as one array; sequences of different lengths are filled up with positions that do not count."""
    if len({part.shape[1:] for part in parts}) > 1:
        shape = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
        fill = IGNORED if name == "labels" else 0
        parts = [
            pad(
                part,
                [
                    w
                    for have, want in zip(reversed(part.shape[1:]), reversed(shape), strict=True)
                    for w in (0, want - have)
                ],
                value=fill,
            )
            for part in parts
        ]
    return torch.cat(parts).numpy()


def _cut(arrays: dict[str, Array], rows: int) -> None:
    """Keep the same number of rows of all, few enough for the largest."""
    for value in arrays.values():
        rows = min(rows, len(value), max(1, MAX_FEATURES // max(1, value[0].size)))
    for name, value in arrays.items():
        arrays[name] = value[:rows]
