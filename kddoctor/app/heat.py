"""Attributions of an image as colours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.app.inputs import enlarged

#: Against, nothing, for: blue and orange can be told apart by everyone.
STOPS = np.array([[0x21, 0x66, 0xAC], [0xF7, 0xF7, 0xF7], [0xD5, 0x5E, 0x00]]) / 255


def is_image(inputs: NDArray[Any]) -> bool:
    """Whether an input has rows and columns of numbers."""
    return inputs.dtype.kind == "f" and inputs.ndim in (2, 3) and min(inputs.shape[-2:]) > 1


def heat_image(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[C, H, W] or [H, W] attributions, summed over channels, as [H', W', 3] colours from 0 to 1."""
    flat = values.sum(axis=0) if values.ndim == 3 else values
    largest = float(np.abs(flat).max()) or 1.0
    place = flat / largest
    colours = np.stack([np.interp(place, [-1, 0, 1], STOPS[:, channel]) for channel in range(3)], axis=-1)
    return np.asarray(enlarged(colours))
