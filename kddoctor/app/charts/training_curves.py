"""Logged scalars over the steps, those of one kind in one picture."""

import altair as alt
import pandas as pd

from kddoctor.app.charts.loss_balance import steps
from kddoctor.app.charts.scales import palette

#: Keys that are drawn on one axis; every other key has a picture of its own.
TOGETHER = {
    "Loss terms": ("loss", "kd_loss", "ce_loss", "feature_loss"),
    "Quality": ("student_accuracy", "agreement", "student_ndcg", "student_auc"),
}


def groups(keys: list[str]) -> dict[str, list[str]]:
    """Title of a picture to the keys that are drawn in it."""
    found = {title: [key for key in keys if key in together] for title, together in TOGETHER.items()}
    grouped = {key for group in found.values() for key in group}
    found |= {key.replace("_", " "): [key] for key in keys if key not in grouped}
    return {title: group for title, group in found.items() if group}


def training_curves(frame: pd.DataFrame, window: tuple[float, float] | None = None) -> alt.Chart:
    """One picture. frame: rows of the view with the keys of one group, of one run or (column run) of two."""
    colours = palette()
    several = frame["key"].nunique() > 1
    long = frame.assign(curve=frame["key"] + ", " + frame["split"])
    names = list(dict.fromkeys(long["curve"]))
    by_run = "run" in frame
    colour, dash = ("run:N", "curve:N") if by_run else ("curve:N", "split:N")
    log = not several and frame["key"].iloc[0] == "lr" and (frame["value"].dropna() > 0).all()
    return (
        alt.Chart(long)
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=12) if len(long) < 120 else False)
        .encode(
            x=steps(window),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, type="log" if log else "linear")),
            color=alt.Color(
                colour,
                title=None,
                scale=alt.Scale(
                    domain=["A", "B"] if by_run else names, range=[colours.series[i % 5] for i in range(2 if by_run else len(names))]
                ),
                legend=alt.Legend(orient="top") if by_run or len(names) > 1 else None,
            ),
            strokeDash=alt.StrokeDash(dash, title=None, legend=alt.Legend(orient="top") if by_run and len(names) > 1 else None),
            tooltip=["curve", "step", alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(height=220)
    )
