"""The parts of a text or a table row that count most."""

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.app.charts.scales import MODELS, layered, model_colour, rule_at

MOST = 15


def attribution_bars(
    words: tuple[str, ...], teacher: NDArray[np.float64] | None, student: NDArray[np.float64] | None
) -> alt.LayerChart:
    """Both models' attributions as shares of each one's largest, of the 15 parts that count most for either."""
    columns = {}
    for model, values in zip(MODELS[:2], (teacher, student), strict=True):
        if values is not None and values.size:
            flat = values.ravel()[: len(words)]
            columns[model] = flat / (np.abs(flat).max() or 1.0)
    frame = pd.DataFrame(columns)
    frame["part"] = [f"{number}: {words[number]}" for number in range(len(frame))]
    order = frame[list(columns)].abs().max(axis=1).sort_values(ascending=False, kind="stable").index[:MOST]
    frame = frame.loc[order]
    long = frame.melt(["part"], list(columns), "model", "attribution")
    bars = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            y=alt.Y("part:N", sort=list(frame["part"]), title=None, axis=alt.Axis(labelLimit=240)),
            yOffset=alt.YOffset("model:N", sort=MODELS[:2]),
            x=alt.X("attribution:Q", scale=alt.Scale(domain=[-1, 1]), title="share of the model's largest"),
            color=model_colour(),
            tooltip=["part", "model", alt.Tooltip("attribution:Q", format="+.2f")],
        )
    )
    return layered(bars, rule_at([0.0], "x", dash=False), height=28 * len(frame) + 90)
