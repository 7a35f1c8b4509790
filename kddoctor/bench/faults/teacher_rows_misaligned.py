"""KD106: the teacher's outputs belong to other rows."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Share of the rows whose cached outputs are out of place.
SHARE = {Level.MILD: 0.06, Level.MODERATE: 0.2, Level.SEVERE: 1.0}


def cached_by_batch_number(recipe: Recipe, _level: Level) -> Recipe:
    """Outputs cached over a loader that shuffles, then looked up by batch number."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_batch[batch.number]

    return replace(recipe, targets=targets)


def shards_in_another_order(recipe: Recipe, level: Level) -> Recipe:
    """Outputs cached by row, but written by two workers: part of the file was sorted differently."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "order" not in session.notes:
            rows = len(session.train)
            order, count = torch.arange(rows), int(SHARE[level] * rows)
            order[:count] = order[:count].flip(0)
            session.notes["order"] = order
        return session.cached_by_row[session.notes["order"][batch.rows]]

    return replace(recipe, targets=targets)


def row_skipped_by_the_cache(recipe: Recipe, level: Level) -> Recipe:
    """The pass that cached the outputs skipped a row that it could not read: all later ones are off by one."""

    def targets(session: Session, batch: Batch) -> Tensor:
        cached = session.cached_by_row
        skipped = int((1 - SHARE[level]) * len(cached))
        return cached[torch.where(batch.rows < skipped, batch.rows, batch.rows + 1) % len(cached)]

    return replace(recipe, targets=targets)


FAULT = Fault("KD106", seen=(cached_by_batch_number,), unseen=(shards_in_another_order, row_skipped_by_the_cache))
