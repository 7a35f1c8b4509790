"""What a trainer's batch says of labels and padding, before the user's code takes it apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader

from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.batches import LABEL_KEYS
from kddoctor.run.recording.labelling import next_token_labels

ATTENTION = "attention_mask"


@dataclass(frozen=True)
class Noted:
    """labels: as the logits have them, so that those of a language model are shifted. mask: [B, L], of tokens."""

    labels: Tensor | None = None
    mask: Tensor | None = None


def noted(batch: object, label: str | None, task: str) -> Noted:
    """Labels and mask of a batch that is a mapping. label: their key, where it is not a usual one."""
    if not isinstance(batch, Mapping):
        return Noted()
    key = next((key for key in (label, *LABEL_KEYS) if key in batch), None)
    labels = batch[key] if key is not None and isinstance(batch[key], Tensor) else None
    if labels is None or task != "tokens":
        return Noted(labels)
    aligned = next_token_labels(batch, labels)
    return Noted(aligned, _mask(batch.get(ATTENTION), labels, aligned))


def _mask(attention: object, labels: Tensor, aligned: Tensor) -> Tensor:
    counts = aligned != IGNORED
    if not isinstance(attention, Tensor) or attention.shape != labels.shape:
        return counts
    attended = attention.to(labels.device).bool()
    if aligned is not labels:  # a position counts where the token that it is about does
        attended = pad(attended[:, 1:], (0, 1), value=False)
    return counts & attended


def renamed_labels(loader: DataLoader[Any], label: str | None) -> DataLoader[Any]:
    """The loader, with labels of another name under ``labels``."""
    if label is None or label in LABEL_KEYS:
        return loader
    collate = _Renaming(loader.collate_fn, label)
    return DataLoader(loader.dataset, loader.batch_size or 1, collate_fn=collate)


@dataclass(frozen=True)
class _Renaming:
    collate: Callable[[list[Any]], Any]
    label: str

    def __call__(self, rows: list[Any]) -> Any:
        batch = self.collate(rows)
        if not isinstance(batch, Mapping) or self.label not in batch:
            return batch
        rest = {name: value for name, value in batch.items() if name != self.label}
        return {**rest, "labels": batch[self.label]}
