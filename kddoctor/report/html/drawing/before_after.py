"""Dumbbells from before to after, one panel for each kind of number."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import BEFORE, LINE, STUDENT
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_before_after(figure: "Figure", view: View) -> None:
    """Shares in per cent above, nats below; the bar is the interval of the change, laid round the value after."""
    metrics = view.frame[view.frame["kind"] == "metric"]
    nats = metrics["name"].str.contains("nats")
    parts = [(metrics[~nats], 100.0, "%"), (metrics[nats], 1.0, "nats")]
    parts = [part for part in parts if len(part[0])]
    panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=[len(p[0]) for p in parts])[:, 0]
    for axes, (part, scale, unit) in zip(panels, parts, strict=True):
        rows = part.iloc[::-1].reset_index(drop=True)
        before, after = scale * rows["before"], scale * rows["after"]
        axes.hlines(rows.index, before, after, color=LINE, linewidth=4)
        low, high = scale * (rows["before"] + rows["low"]), scale * (rows["before"] + rows["high"])
        axes.hlines(rows.index, low, high, color=STUDENT, linewidth=1.4)
        axes.plot(before, rows.index, "v", color=BEFORE, markersize=7, fillstyle="none", label="before")
        axes.plot(after, rows.index, "o", color=STUDENT, markersize=7, label="after")
        _name(axes, rows["name"].str.removesuffix(", nats").tolist(), unit)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


def _name(axes: "Axes", names: list[str], unit: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(-0.6, len(names) - 0.4), xlabel=unit)
    axes.set_xlim(0, 100) if unit == "%" else axes.set_xlim(left=0)
    axes.xaxis.grid(True, color=LINE)
