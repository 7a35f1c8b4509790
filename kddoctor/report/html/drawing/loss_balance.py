"""Share of the gradient by step, and the cosine between the terms' gradients where it is known."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import GOOD, SOFT, STUDENT, TEACHER, WARN
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points that the smooth line runs over.
SMOOTHED = 5


def draw_loss_balance(figure: "Figure", view: View) -> None:
    """The band between the limits is shaded; a negative cosine too."""
    frame = view.frame
    known = bool(frame["cosine"].notna().any())
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2)) if known else [figure.subplots()]
    share = panels[0]
    share.axhspan(100 * view.marks["inert"], 100 * view.marks["dominant"], color=GOOD, alpha=0.12, linewidth=0)
    for column, name, colour, marker, line in (
        ("kd_share", "distillation", TEACHER, "o", "-"),
        ("ce_share", "labels", STUDENT, "s", "--"),
    ):
        share.plot(frame["step"], 100 * frame[column], marker, color=colour, markersize=3, alpha=0.5)
        smooth = (100 * frame[column]).rolling(SMOOTHED, center=True, min_periods=1).median()
        share.plot(frame["step"], smooth, line, color=colour, label=name)
    of = "gradient" if frame["of"].iloc[0] == "gradient" else "loss"
    share.set(ylim=(0, 100), ylabel=f"share of {of}, %")
    share.legend(loc="center right", ncols=2)
    if known:
        _cosines(panels[1], view)
    for axes in panels:
        axes.grid(True)
    panels[-1].set_xlabel("step")


def _cosines(axes: "Axes", view: View) -> None:
    axes.axhspan(-1, 0, color=WARN, alpha=0.15, linewidth=0)
    axes.axhline(0, color=SOFT, linewidth=0.8)
    axes.plot(view.frame["step"], view.frame["cosine"], "o-", color=TEACHER, markersize=3, linewidth=1)
    axes.set(ylim=(-1, 1), ylabel="cosine")
