"""Which training rows an epoch draws from: all of them, or those that the teacher finds easy first."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset

from kddoctor.engine.reading import binary_like
from kddoctor.run.labels import IGNORED
from kddoctor.run.manifest import Manifest
from kddoctor.treatment.training import shuffled_loader

#: Share of rows in the first epoch, and share of the training after which all take part (Hacohen and Weinshall 2019,
#: arXiv:1904.03626: a curriculum from a teacher's own losses, with such a pace).
START, WHOLE_AFTER = 0.4, 0.5


@torch.no_grad()
def easiest_first(
    manifest: Manifest, batches: Callable[[], Iterator[tuple[Any, Tensor]]], teacher: Callable[[Any], Tensor]
) -> list[int]:
    """Row numbers by the teacher's loss on them, the smallest first. batches: all rows in their own order."""
    losses = torch.cat([_loss_of_rows(manifest, teacher(inputs), labels) for inputs, labels in batches()])
    return [int(row) for row in losses.nan_to_num(nan=torch.inf).argsort(stable=True)]


def epoch_loader(data: Dataset[Any], size: int, easy: list[int], done: float) -> DataLoader[Any]:
    """As many batches as any epoch has, from the share of rows that takes part after ``done`` of the training, 0 to 1.

    easy: row numbers, the easiest first; none: all rows from the beginning.
    """
    share = START + (1 - START) * done / WHOLE_AFTER
    if not easy or share >= 1:
        return shuffled_loader(data, size)
    chosen = Subset(data, easy[: max(size, round(share * len(easy)))])
    # No row twice before every chosen one was drawn once.
    rows = len(easy)
    return DataLoader(
        chosen, size, sampler=RandomSampler(chosen, num_samples=rows), drop_last=rows > size and rows % size == 1
    )


def _loss_of_rows(manifest: Manifest, logits: Tensor, labels: Tensor) -> Tensor:
    """[B], the teacher's mean loss on each row's labels."""
    if binary_like(manifest):
        losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return losses.reshape(len(labels), -1).mean(1)
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none", ignore_index=IGNORED)
    counts = (labels != IGNORED).reshape(len(labels), -1)
    return losses.reshape(len(labels), -1).sum(1) / counts.sum(1).clamp_min(1)
