"""When a trial of an experiment is given up."""

from collections.abc import Sequence
from dataclasses import dataclass

from kddoctor.probes.proportions import noise_of_difference, standard_error


@dataclass(frozen=True)
class ClearlyBehind:
    """True for a trial whose best epoch is clearly below what the control of the same seed had at this epoch.

    Paired by seed, since seeds may differ by more than arms do. It depends on figures alone, and not on when or where
    they were measured. control: the control's metric after every epoch. rows: that it was measured on.
    warm_up: epochs before which nothing is given up.
    """

    control: tuple[float, ...]
    rows: int
    warm_up: int

    def __call__(self, values: Sequence[float]) -> bool:
        """values: the trial's metric after every epoch so far."""
        epoch = len(values)
        if not self.warm_up < epoch <= len(self.control):
            return False
        reached = self.control[epoch - 1]
        return max(values) < reached - noise_of_difference(standard_error(reached, self.rows))
