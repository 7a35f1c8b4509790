"""Reliability of both models, over a strip that shows where their confidences lie."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kddoctor.report.html.palette import SOFT, STUDENT, TEACHER
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: (model, colour, marker, line).
SERIES = (("teacher", TEACHER, "s", "--"), ("student", STUDENT, "o", "-"))
#: Narrowest bin of the strip, so that a thousand equal confidences do not become infinitely dense.
NARROWEST = 0.005


def draw_reliability(figure: "Figure", view: View) -> None:
    """Below the diagonal a model is overconfident; bins of few rows are hollow."""
    top, strip = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":", label="perfect")
    for model, colour, marker, line in SERIES:
        bins = view.frame[view.frame["model"] == model]
        ece = view.marks[f"{model}_ece"]
        top.plot(bins["confidence"], bins["accuracy"], line, color=colour, linewidth=1.2)
        for small, fill in ((False, "full"), (True, "none")):
            part = bins[bins["small"] == small]
            label = None if part.empty else f"{model} (ECE {ece:.3f}){' few rows' if small else ''}"
            top.plot(part["confidence"], part["accuracy"], marker, color=colour, fillstyle=fill, label=label)
        density: pd.Series[float] = bins["rows"] / np.maximum(bins["high"] - bins["low"], NARROWEST)
        strip.stairs(
            np.sqrt(density / density.max()),
            [*bins["low"], max(bins["high"].iloc[-1], bins["low"].iloc[-1] + NARROWEST)],
            color=colour,
            linestyle=line,
        )
    top.set(ylim=(-0.02, 1.02), ylabel="share right")
    top.grid(True)
    top.legend(loc="upper left")
    strip.set(xlim=(-0.02, 1.02), xlabel="stated confidence", ylabel="rows")
    strip.set_yticks([])
