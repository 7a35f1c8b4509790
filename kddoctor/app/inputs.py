"""The raw input of one example, as what it is: an image, a sequence of tokens, a user and an item, or a table row."""

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from kddoctor.app.current import Opened
from kddoctor.engine.measuring import held_out_split
from kddoctor.report.views.raw_input import RawInput, raw_input

SMALLEST = 240


def show_input(opened: Opened, row: int) -> None:
    """What was recorded of this row, or the recorder line that would have kept it."""
    found = raw_input(opened.run, row, held_out_split(opened.run))
    if found is None:
        st.info(
            "Inputs were not recorded. Record them with `kddoctor.record(…, save_inputs=True)`.",
            icon=":material/info:",
        )
        return
    draw_input(found)


def draw_input(found: RawInput) -> None:
    """An input of any kind."""
    if found.kind == "image":
        st.image(enlarged(found.values), caption=found.caption, clamp=True)
    elif found.kind == "tokens":
        st.code(" ".join(found.words), language=None, wrap_lines=True)
        st.caption(found.caption)
    else:
        st.dataframe(pd.DataFrame({"column": found.words, "value": found.values.ravel()}), hide_index=True, height=240)
        st.caption(found.caption)


def enlarged(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """[H, W] or [H, W, 3] so large that single pixels can be seen, without smoothing."""
    times = max(1, SMALLEST // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)
