"""What the logits below the top one say: how far they spread, and whether classes have typical neighbours."""

import numpy as np
from numpy.typing import NDArray


class NonTargetLogits:
    """Accumulates spread and structure of the non-top logits; temperature-free.

    ``patterns`` [C, C] holds, for each top class, the sum of its rows' non-top logits, each row centred at
    its own mean; it is not kept unless ``structured``.
    """

    def __init__(self, num_classes: int, structured: bool) -> None:
        self._classes = num_classes
        self._rows = 0
        self._uneven_rows = 0
        self._relative_spread = 0.0
        self._square = 0.0
        self._counts = np.zeros(num_classes, dtype=np.int64)
        self._patterns = np.zeros((num_classes, num_classes)) if structured else None

    def update(self, shifted: NDArray[np.float32], top: NDArray[np.int64]) -> None:
        """Count a block: shifted [n, C], logits minus the row's largest; top [n], where that one stands."""
        others = self._classes - 1
        # The top entry is zero, so that the sum over all is the sum over the others.
        mean = shifted.sum(axis=1) / np.float32(others)
        centred = shifted - mean[:, None]
        np.put_along_axis(centred, top[:, None], 0.0, axis=1)
        with np.errstate(over="ignore"):
            square = np.matmul(centred[:, None, :], centred[:, :, None])[:, 0, 0].astype(np.float64)
        if not np.isfinite(square).all():  # logits beyond 1e19, whose squares leave float32
            square = np.square(centred, dtype=np.float64).sum(axis=1)
        uneven = mean < 0.0
        spread = np.sqrt(square[uneven] / others)
        self._relative_spread += float((spread / -mean[uneven]).sum())
        self._uneven_rows += int(uneven.sum())
        self._square += float(square.sum())
        self._counts += np.bincount(top, minlength=self._classes)
        self._rows += len(shifted)
        if self._patterns is not None:
            order = np.argsort(top, kind="stable")
            present, starts = np.unique(top[order], return_index=True)
            self._patterns[present] += np.add.reduceat(centred[order], starts, axis=0, dtype=np.float64)

    def merge(self, other: "NonTargetLogits") -> None:
        """Add what another one counted."""
        self._rows += other._rows
        self._uneven_rows += other._uneven_rows
        self._relative_spread += other._relative_spread
        self._square += other._square
        self._counts += other._counts
        if self._patterns is not None and other._patterns is not None:
            self._patterns += other._patterns

    def spread(self) -> float | None:
        """Mean over rows of s.d. of the non-top logits / (top − their mean); Müller et al. 2019, section 2.

        Rows of equal logits have no such ratio and are left out. None where no row is left, and for two
        classes, where a single logit has no spread.
        """
        if self._classes == 2 or not self._uneven_rows:
            return None
        return self._relative_spread / self._uneven_rows

    def structure(self) -> float | None:
        """Share of the non-top logits' variance that the top class explains, in [0, 1].

        One-way analysis of variance, column by column and pooled: each entry (row, class j that is not the
        row's top) against the mean of column j, grouped by top class. Adjusted for the groups' degrees of
        freedom (ε², Kelley 1935): without that, few rows per class would look like structure. None for two
        classes, where patterns are not kept, and where no class is the top of two rows.
        """
        if self._patterns is None or self._classes == 2 or not (self._counts > 1).any():
            return None
        counts = self._counts[self._counts > 0]
        in_column = self._rows - self._counts  # rows whose top is another class
        measured = in_column > 0
        of_means = float((self._patterns.sum(axis=0)[measured] ** 2 / in_column[measured]).sum())
        of_groups = float(((self._patterns[self._counts > 0] ** 2).sum(axis=1) / counts).sum())
        total = self._square - of_means
        total_freedom = int(in_column.sum() - measured.sum())
        # Each group takes one degree of freedom in each of the C − 1 columns that are not its own.
        freedom = int(in_column.sum() - len(counts) * (self._classes - 1))
        if total <= self._square * 1e-12:
            return 0.0  # all rows alike: nothing varies that could be explained
        within = max(self._square - of_groups, 0.0)
        return float(np.clip(1.0 - (within / freedom) / (total / total_freedom), 0.0, 1.0))
