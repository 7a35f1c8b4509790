"""How sure a share of rows is."""

import math

#: Standard errors from which a difference counts as no noise.
SURE = 2.0


def standard_error(share: float, rows: int) -> float:
    """Of a share of ``rows``, with Agresti and Coull's two added successes and failures: never zero.

    For an area under the curve it is an approximation that errs on the wide side for balanced classes.
    """
    centre = (share * rows + 2) / (rows + 4)
    return math.sqrt(centre * (1 - centre) / (rows + 4))


def noise_of_difference(error: float) -> float:
    """The largest difference of two shares of the same standard error that noise explains (rows taken as unpaired)."""
    return SURE * math.sqrt(2) * error
