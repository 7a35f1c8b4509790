"""Accuracy of each model on training and on held-out rows."""

from typing import TYPE_CHECKING, Any

from kddoctor.report.html.palette import ALONE, BACKGROUND, STUDENT, TEACHER
from kddoctor.report.views.capacity_or_training import TWIN
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"teacher": TEACHER, "student": STUDENT, TWIN: ALONE}
#: Marker, fill and place of each split within the row of its model.
SPLITS = {"train": ("o", False, 0.16), "held out": ("s", True, -0.16)}


def draw_capacity_or_training(figure: "Figure", view: View) -> None:
    """Hollow circles: training rows; filled squares: held-out rows; bars: two standard errors."""
    axes = figure.subplots()
    shown = [model for model in COLOURS if (view.frame["model"] == model).any()]
    for split, (marker, filled, shift) in SPLITS.items():
        for place, model in enumerate(reversed(shown)):
            row = view.frame[(view.frame["model"] == model) & (view.frame["split"] == split)].iloc[0]
            colour, at = COLOURS[model], place + shift
            axes.plot([100 * row["low"], 100 * row["high"]], [at, at], "-", color=colour, linewidth=1.4)
            inside = colour if filled else BACKGROUND
            style: dict[str, Any] = {"color": colour, "markerfacecolor": inside, "markersize": 7}
            label = split if model == shown[0] else None
            axes.plot([100 * row["accuracy"]], [at], marker, label=label, **style)
            where = (100 * row["high"], at)
            axes.annotate(f"{row['accuracy']:.1%}", where, xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), list(reversed(shown)))
    axes.set(ylim=(-0.6, len(shown) - 0.4), xlabel="accuracy, %")
    axes.margins(x=0.12)
    axes.grid(True, axis="x")
    figure.legend(loc="outside upper right", ncols=2)
