"""Targets that stay what they were while the batches go on: evidence of KD113, and what KD106 gives way to."""

from kddoctor.rules.settings import Count
from kddoctor.run.observations import Observations

#: Steps that repeat the targets of the one before, from which that is no accident.
FEWEST_REPEATS: Count = 3


def kept_from_before(seen: Observations | None) -> float:
    """Share of the steps whose targets are bit by bit those of the step before, of other inputs."""
    repeated = None if seen is None else seen.repeated_targets
    if repeated is None or not repeated.compared or (repeated.same or 0) < FEWEST_REPEATS:
        return 0.0
    return (repeated.same or 0) / repeated.compared
