"""The raw input of one example, and what kind of thing it is."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.errors import one_line
from kddoctor.run.directory import Run

Kind = Literal["image", "tokens", "pair", "table"]
#: Elements of an input that are shown.
MOST_SHOWN = 4096
CHANNELS = (1, 3)


@dataclass(frozen=True)
class RawInput:
    """values: an image as [H, W] or [H, W, 3] from 0 to 1; otherwise flat, cut to 4,096. words: a name for each value
    of a table or pair, the tokens of a sequence. caption: for people.
    """

    kind: Kind
    values: NDArray[Any]
    words: tuple[str, ...]
    caption: str


def raw_input(run: Run, row: int, split: str) -> RawInput | None:
    """The recorded input of a row of the split; None where inputs, or this row's, were not recorded."""
    inputs = run.inputs(split)
    if inputs is None or not 0 <= row < inputs.n:
        return None
    names = (run.manifest.model_extra or {}).get("input_names")
    return describe_input(inputs.inputs[row], names if isinstance(names, list) else None)


def describe_input(values: NDArray[Any], names: list[Any] | None = None) -> RawInput:
    """values: one example, without the batch axis. names: of columns, where the run gives them.

    An image has two axes, or three of which one is 1 or 3 channels. Whole numbers are tokens, but two of them a user and
    an item. All else is a row of a table.
    """
    shape = " × ".join(map(str, values.shape)) or "1"
    image = _image(values)
    if image is not None:
        caption = f"{shape}, {values.min():.3g} to {values.max():.3g}"
        return RawInput("image", image, (), caption)
    flat = values.reshape(-1)[:MOST_SHOWN]
    if values.dtype.kind in "iu" and values.ndim <= 1 and len(flat) != 2:
        return RawInput("tokens", flat, tuple(map(str, flat)), f"{len(flat)} tokens")
    kind: Kind = "pair" if values.dtype.kind in "iu" and len(flat) == 2 else "table"
    known = [one_line(str(name)) for name in names or ()]
    if len(known) != len(flat):
        known = ["user", "item"] if kind == "pair" else [f"column {number}" for number in range(len(flat))]
    return RawInput(kind, flat, tuple(known), shape)


def _image(values: NDArray[Any]) -> NDArray[Any] | None:
    """[H, W] or [H, W, 3] from 0 to 1, or None for what is no image."""
    if values.ndim == 3 and values.shape[0] in CHANNELS:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    is_image = values.dtype.kind == "f" and min(values.shape, default=0) > 1
    if not (values.ndim == 2 and is_image) and not (values.ndim == 3 and values.shape[-1] == 3):
        return None
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return np.nan_to_num((values - low) / (high - low) if high > low else np.zeros_like(values))
