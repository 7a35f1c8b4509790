"""Which rows are looked at: few, spread evenly, in an order that does not depend on chance."""

import time
from collections.abc import Sized
from dataclasses import replace

import torch
from torch.utils.data import IterableDataset, Subset

from kddoctor.engine.reading import evenly
from kddoctor.preflight_checks.setting import Setting
from kddoctor.run.recording.batches import Batch, Source

#: Rows of one batch, and logits of one model on one split, at most.
BATCH, ELEMENTS = 64, 1 << 24
#: Below this many rows nobody can tell a teacher from chance.
FEWEST = 32
#: Share of the time that the models may take on one split.
SHARE = 0.2


def spread(source: Source, rows: int) -> Source:
    """At most so many rows, evenly spread over the split: the first ones may all be of one class."""
    size = None if source.batch_size is None else min(source.batch_size, BATCH)
    dataset = source.dataset
    if size is None or not isinstance(dataset, Sized) or isinstance(dataset, IterableDataset):
        return source
    chosen = evenly(len(dataset), rows).tolist() if len(dataset) else []
    return replace(source, dataset=Subset(dataset, chosen), batch_size=size)


def first_batch(setting: Setting, split: str) -> Batch | None:
    """The first rows of the sample, None where the split gives none."""
    return next(spread(setting.sources[split], setting.examples).batches(BATCH), None)


def affordable(setting: Setting, batch: Batch, elements: int) -> int:
    """Rows of a split that fit time and memory, by one pass of both models over the batch.

    elements: logits of one model on this batch.
    """
    start = time.monotonic()
    with torch.no_grad():
        for role in ("teacher", "student"):
            setting.logits(role, batch)
    a_row = max(1e-9, time.monotonic() - start) / batch.size
    in_time = int(SHARE * setting.seconds / a_row)
    in_memory = max(1, ELEMENTS * batch.size // max(1, elements))
    return min(setting.examples, in_memory, max(FEWEST, in_time))
