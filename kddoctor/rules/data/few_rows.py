"""Transfer sets so small that all epochs together are a few updates: neither the epochs nor the batch are to blame."""

from dataclasses import dataclass

from kddoctor.probes.rate_signs import RateSigns
from kddoctor.run.manifest import Manifest

#: Updates that nobody trains for less than, and epochs from which it is not their number that is small.
HUNDRED, EPOCHS = 100, 5
#: Updates of an epoch up to which it is hardly more than a batch, and rows that such an epoch has where batches are of
#: a usual size: more of them are large batches (KD501).
FEW_BATCHES, SMALL_SET = 3, 256


@dataclass(frozen=True)
class FewRows:
    """rows: of an epoch at the most. epochs, updates: that were made of them."""

    rows: int
    epochs: float
    updates: int


def few_rows(signs: RateSigns | None, config: Manifest | None) -> FewRows | None:
    """Where epochs enough make no more than dozens of updates, since an epoch has so few rows.

    None where that is not so, or where epochs or the size of batches are not known.
    """
    batch = None if config is None else config.training.batch_size
    if signs is None or not signs.per_epoch or batch is None:
        return None
    rows = round(signs.per_epoch * batch)
    epochs = signs.updates / signs.per_epoch
    few = signs.per_epoch <= FEW_BATCHES and rows <= SMALL_SET
    return FewRows(rows, epochs, signs.updates) if few and epochs >= EPOCHS and signs.updates < HUNDRED else None
