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
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, pad

from kddoctor.run.arrays import Array
from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.batches import Batch, Source
from kddoctor.run.recording.calling import RowIds, Transform, forward
from kddoctor.run.recording.fingerprinting import fingerprints
from kddoctor.run.recording.input_statistics import InputStatistics
from kddoctor.run.recording.labelling import class_labels, next_token_labels
from kddoctor.run.recording.outputs import copied, tensors_in
from kddoctor.run.recording.row_hash import row_hashes

MAX_LOGITS = 1 << 28  # elements of one model's logits on one split: 1 GiB
MAX_FEATURES = 1 << 25  # elements of one layer: 128 MiB
# Examples past max_examples are only hashed, to find duplicates between splits. Decoding a million images
# for that alone would keep the user waiting.
MAX_FINGERPRINTS = 200_000
MAX_HASHING_SECONDS = 30.0
# Above this many classes of a tokens run, the top logits alone are kept.
WHOLE_VOCABULARY = 4096
TOP = 64
#: Numbers of one row of an activation that are kept as they are, where layers were chosen for the user.
FEW = 1024
ROW_IDS = ("group_ids", "item_ids")


@dataclass
class SplitRecord:
    """Arrays of one split, under the names of the contract.

    row_hashes, labels: of every example that was read, to find those of training steps again. interruption: what ended
    the pass over the split early, Ctrl-C as a rule; the rows until then are there.
    """

    predictions: dict[str, Array] = field(default_factory=dict)
    features: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, Array] = field(default_factory=dict)
    fingerprints: Array | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    row_hashes: Array = field(default_factory=lambda: np.empty(0, np.int64))
    labels: Array | None = None
    interruption: BaseException | None = None


@dataclass(frozen=True)
class Predicting:
    """What to record of a split. models: "teacher", "student" and perhaps "baseline". layers: by model.

    cached: logits by their name and split, of models that are not there: {"teacher_logits": {"val": [N, C]}}. pooled:
    whether large activations are averaged over space, as those of layers that nobody asked for are. hashed_examples: of
    the split whose content is hashed.
    """

    models: Mapping[str, nn.Module]
    layers: Mapping[str, Sequence[str]]
    task: str
    transform: Transform | None
    row_ids: RowIds | None
    max_examples: int
    feature_examples: int
    save_inputs: bool
    cached: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    pooled: bool = False
    hashed_examples: int = MAX_FINGERPRINTS

    def record(self, split: str, source: Source) -> SplitRecord:
        """Run all models over the split. Call it inside ``undisturbed``; raises what the models raise."""
        columns: dict[str, list[Tensor]] = {}
        limit, done = self.max_examples, 0
        hashes, keys, labels = [], [], []
        statistics = InputStatistics()
        only_hashing_since = time.monotonic()
        interruption: BaseException | None = None
        try:
            for batch in source.batches(max(self.max_examples, self.hashed_examples)):
                if done < limit:
                    only_hashing_since = time.monotonic()
                elif time.monotonic() - only_hashing_since > MAX_HASHING_SECONDS:
                    break
                first = next(tensors_in(batch.inputs))
                hashes.append(fingerprints(batch.inputs, batch.size))
                keys.append(row_hashes(first).cpu().numpy())
                labels.append(batch.labels)
                if done >= limit:
                    continue
                found, logits = self._rows(batch, want_features=done < self.feature_examples)
                if done == 0:
                    limit = min(limit, max(1, MAX_LOGITS // max(1, logits[0].numel())))
                for name, value in found.items():
                    columns.setdefault(name, []).append(value)
                statistics.update(first)
                done += batch.size
        except (KeyboardInterrupt, SystemExit) as error:
            interruption = error
        rows = min([done, limit, *(len(known[split]) for known in self.cached.values() if split in known)])
        record = self._split(split, columns, rows, np.concatenate(hashes) if hashes else None)
        record.statistics, record.interruption = statistics.facts(), interruption
        if keys:
            record.row_hashes, record.labels = np.concatenate(keys), _joined_labels(labels)
        return record

    def _rows(self, batch: Batch, want_features: bool) -> tuple[dict[str, Tensor], Tensor]:
        rows: dict[str, Tensor] = {}
        logits = torch.empty(batch.size)
        teachers = batch.inputs if self.transform is None else self.transform(batch.inputs)
        for name, model in self.models.items():
            layers = self.layers.get(name, ()) if want_features else ()
            with captured(model, layers, self.pooled) as activations:
                logits = forward(model, teachers if name == "teacher" else batch.inputs)
            rows.update(self._logits(name, copied(logits)))
            for layer, value in activations.items():
                if value.ndim and len(value) == batch.size:
                    rows[f"features {name}/{layer}"] = value
        if batch.labels is None:
            raise TypeError("a batch has no labels; expected (inputs, labels) or a dict with labels")
        labels = copied(batch.labels)
        labels = next_token_labels(batch.inputs, labels) if self.task == "tokens" else labels
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

    def _split(self, split: str, columns: dict[str, list[Tensor]], n: int, hashes: Array | None) -> SplitRecord:
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
        for name, cached in self.cached.items():
            if n and split in cached:
                arrays = self._logits(name.removesuffix("_logits"), torch.as_tensor(cached[split])[:n])
                record.predictions |= {key: copied(value).numpy() for key, value in arrays.items()}
        if n:
            record.predictions["example_ids"] = np.arange(n)
        for part in (record.features, record.inputs):
            _cut(part, min(n, self.feature_examples))
        return record


@contextmanager
def captured(model: nn.Module, layers: Sequence[str], pooled: bool = False) -> Iterator[dict[str, Tensor]]:
    """Activations of named layers during a forward pass, each copied at once.

    Copied in the hook: the next layer may be an in-place ReLU, which writes over what this one returned. pooled: of
    more than ``FEW`` numbers a row, averages over space or positions.
    """
    modules = dict(model.named_modules())
    activations: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in layers:

            def keep(_: nn.Module, __: object, output: object, name: str = name) -> None:
                value = next(tensors_in(output), None)
                if value is not None:
                    activations[name] = copied(_pooled(value) if pooled else value).float()

            stack.enter_context(_hooked(modules[name], keep))
        yield activations


def _pooled(value: Tensor) -> Tensor:
    """Maps [n, c, h, w] as [n, c, 4, 4] at most, sequences [n, l, d] as [n, 8, d]."""
    if value.ndim < 3 or not value.is_floating_point() or value[0].numel() <= FEW:
        return value
    if value.ndim == 4:
        return adaptive_avg_pool2d(value, (min(4, value.shape[2]), min(4, value.shape[3])))
    if value.ndim == 3:
        return adaptive_avg_pool1d(value.transpose(1, 2), min(8, value.shape[1])).transpose(1, 2)
    return value.flatten(2).mean(2)


@contextmanager
def _hooked(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _joined_labels(parts: list[Tensor | None]) -> Array | None:
    known = [copied(part) for part in parts if part is not None]
    if len(known) < len(parts) or len({part.shape[1:] for part in known}) != 1:
        return None
    return torch.cat(known).numpy()


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
