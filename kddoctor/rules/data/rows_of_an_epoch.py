"""Transfer sets so small that all epochs together are a few updates: neither the epochs nor the batch are to blame."""

from kddoctor.probes.rate_signs import RateSigns
from kddoctor.run.manifest import Manifest

#: Updates that nobody trains for less than, and epochs from which it is not their number that is small.
HUNDRED, EPOCHS = 100, 5
#: Updates of an epoch up to which it is hardly more than a batch, and rows that such an epoch has where batches are of
#: a usual size: more of them are large batches (KD501).
FEW_BATCHES, SMALL_SET = 3, 256


def rows_of_an_epoch(signs: RateSigns | None, config: Manifest | None) -> int | None:
    """Rows of an epoch at the most, where epochs enough make no more than dozens of updates, since these are so few.

    None where that is not so, or where epochs or the size of batches are not known.
    """
    batch = None if config is None else config.training.batch_size
    if signs is None or not signs.per_epoch or batch is None:
        return None
    rows = round(signs.per_epoch * batch)
    few = signs.per_epoch <= FEW_BATCHES and rows <= SMALL_SET
    return rows if few and EPOCHS * signs.per_epoch <= signs.updates < HUNDRED else None
