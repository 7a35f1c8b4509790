"""Teacher's confidence against the student's loss: bins, the worst rows, four named regions."""

from typing import TYPE_CHECKING

import numpy as np

from kddoctor.report.html.drawing.shapes import shaded_cells
from kddoctor.report.html.palette import FOREGROUND, SOFT, STUDENT, TEACHER
from kddoctor.report.views.gap_map import REGIONS
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_gap_map(figure: "Figure", view: View) -> None:
    """The darker a bin, the more rows (logarithmic)."""
    axes = figure.subplots()
    bins, worst = (view.frame[view.frame["kind"] == kind] for kind in ("bin", "worst"))
    edges = ["confidence_low", "confidence_high", "loss_low", "loss_high"]
    weights = np.log1p(bins["count"].to_numpy(float))
    shaded_cells(axes, bins[edges].itertuples(index=False, name=None), weights / weights.max(), TEACHER)
    axes.plot(
        worst["teacher_confidence"],
        worst["student_loss"],
        "x",
        color=STUDENT,
        markersize=3.5,
        markeredgewidth=0.8,
        label=f"the {len(worst)} rows furthest from the teacher",
    )
    low, high = float(bins["confidence_low"].min()), 1.0
    low = min(low, 2 * view.marks["sure"] - 1)
    top = max(float(bins["loss_high"].max()), 2 * view.marks["lost"])
    axes.axvline(view.marks["sure"], color=SOFT, linewidth=1, linestyle="--")
    axes.axhline(view.marks["lost"], color=SOFT, linewidth=1, linestyle="--")
    for (sure, learnt), name in REGIONS.items():
        x, y = (0.99 if sure else 0.01), (0.02 if learnt else 0.98)
        axes.annotate(
            f"{name}: {view.marks[name]:,.0f}",
            (x, y),
            xycoords="axes fraction",
            ha="right" if sure else "left",
            va="bottom" if learnt else "top",
            color=FOREGROUND,
            weight="bold",
        )
    axes.set(xlim=(low, high), ylim=(0, top), xlabel="teacher's confidence", ylabel="student's loss, nats")
    figure.legend(loc="outside upper right")
