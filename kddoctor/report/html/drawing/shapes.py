"""Cells of a map as one path for each shade, which keeps a picture small."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: (left, right, bottom, top).
Cell = tuple[float, float, float, float]
#: Shades of a map.
SHADES = 6


def shaded_cells(axes: "Axes", cells: Iterable[Cell], weights: NDArray[np.floating], colour: str) -> None:
    """Fill cells in one colour, the more opaque the larger their weight in (0, 1]."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shades = np.clip(np.ceil(np.asarray(weights) * SHADES), 1, SHADES).astype(int)
    listed = list(cells)
    for shade in range(1, SHADES + 1):
        chosen = [cell for cell, own in zip(listed, shades, strict=True) if own == shade]
        if chosen:
            boxes = [Path([(a, c), (b, c), (b, d), (a, d), (a, c)], closed=True) for a, b, c, d in chosen]
            alpha = 0.12 + 0.88 * shade / SHADES
            axes.add_patch(PathPatch(Path.make_compound_path(*boxes), facecolor=colour, edgecolor="none", alpha=alpha))
