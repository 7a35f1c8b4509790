"""A split in order, batch by batch, without touching the user's own loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from kddoctor.errors import UsageError
from kddoctor.run.recording.outputs import tensors_in

DEFAULT_BATCH_SIZE = 128
LABEL_KEYS = ("labels", "label", "targets", "target")


@dataclass(frozen=True)
class Batch:
    """inputs: as the student takes them: a tensor, a tuple or a dict of arguments. labels: [B, ...]."""

    inputs: Any
    labels: Tensor | None
    size: int


@dataclass(frozen=True)
class Source:
    """Where a split's examples come from. batch_size is None where the data comes in batches already.

    declared_batch_size: that of the user's loader, where there is one.
    """

    dataset: Dataset[Any]
    collate: Callable[[list[Any]], Any] | None
    batch_size: int | None
    declared_batch_size: int | None = None

    @property
    def length(self) -> int | None:
        """Examples, where the data knows; batches of examples do not count."""
        known = self.batch_size is not None and isinstance(self.dataset, Sized)
        return len(self.dataset) if known and not isinstance(self.dataset, IterableDataset) else None  # type: ignore[arg-type]

    def batches(self, limit: int) -> Iterator[Batch]:
        """The first ``limit`` examples in order. Drawn without workers, from a loader made for this pass."""
        dataset = self.dataset
        if self.batch_size is not None and isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset):
            dataset = Subset(dataset, range(min(limit, len(dataset))))
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=False,
            collate_fn=self.collate,
            num_workers=0,
            generator=torch.Generator(),  # or the loader would draw a seed from the loop's random numbers
        )
        left = limit
        for raw in loader:
            batch = split_batch(raw)
            if batch is None or left <= 0:
                return
            left -= batch.size
            yield batch


def source_of(data: object, name: str) -> Source:
    """A source from a DataLoader, a Dataset, or a pair (inputs, labels) of tensors. Raises UsageError."""
    if isinstance(data, DataLoader):
        dataset, batched = data.dataset, data.batch_size is None and data.batch_sampler is None
        chosen = getattr(data.sampler, "indices", None)
        if chosen is not None and not batched:
            dataset = Subset(dataset, sorted(int(index) for index in chosen))
        declared = data.batch_size or getattr(data.batch_sampler, "batch_size", None)
        size = None if batched else int(declared or DEFAULT_BATCH_SIZE)
        return Source(dataset, data.collate_fn, size, declared)
    if isinstance(data, Dataset):
        return Source(data, None, DEFAULT_BATCH_SIZE)
    if isinstance(data, list | tuple) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        inputs, labels = (torch.as_tensor(part) for part in data)
        if len(inputs) == len(labels):
            return Source(TensorDataset(inputs, labels), None, DEFAULT_BATCH_SIZE)
        raise UsageError(f"{name}: {len(inputs)} inputs but {len(labels)} labels; they must agree.")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping | str | Tensor):
        return Source(cast("Dataset[Any]", data), None, DEFAULT_BATCH_SIZE)
    raise UsageError(
        f"{name} is a {type(data).__name__}; expected a DataLoader, a Dataset or a pair of tensors (inputs, labels)."
    )


def split_batch(raw: object) -> Batch | None:
    """Inputs and labels of a batch: a pair, or a mapping with labels in it. None where it is neither."""
    labels: Any = None
    if isinstance(raw, Mapping):
        key = next((key for key in LABEL_KEYS if key in raw), None)
        labels = raw[key] if key else None
        inputs: Any = {name: value for name, value in raw.items() if name != key}
    elif isinstance(raw, list | tuple) and len(raw) >= 2:
        inputs, labels = raw[0], raw[1]
    else:
        inputs = raw
    first = next(tensors_in(inputs), None)
    if first is None or first.ndim == 0:
        return None
    labels = None if labels is None else torch.as_tensor(labels)
    return Batch(inputs, labels, len(first))


def first_rows(inputs: Any, rows: int, of: int) -> Any:
    """The first rows of every tensor of a batch of size ``of``."""
    if isinstance(inputs, Tensor):
        return inputs[:rows] if inputs.ndim and len(inputs) == of else inputs
    if isinstance(inputs, Mapping):
        return {key: first_rows(value, rows, of) for key, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return tuple(first_rows(value, rows, of) for value in inputs)
    return inputs
