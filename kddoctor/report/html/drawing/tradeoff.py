"""Quality against latency and size, one panel each."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import ALONE, BEFORE, STUDENT, TEACHER
from kddoctor.report.views.tradeoff import RESOURCES
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {
    "teacher": (TEACHER, "s"),
    "student": (STUDENT, "o"),
    "labels only": (ALONE, "^"),
    "before treatment": (BEFORE, "v"),
}


def draw_tradeoff(figure: "Figure", view: View) -> None:
    """Left and up is better; dominated models are hollow."""
    resources = list(dict.fromkeys(view.frame["resource"]))
    panels = figure.subplots(1, len(resources), sharey=True, squeeze=False)[0]
    for axes, resource in zip(panels, resources, strict=True):
        for _, row in view.frame[view.frame["resource"] == resource].iterrows():
            colour, marker = STYLES[row["model"]]
            fill = "none" if row["dominated"] else "full"
            label = row["model"] if axes is panels[0] else None
            size = {"markersize": 8, "markeredgewidth": 1.6}
            quality = 100 * row["quality"]
            axes.plot(row["amount"], quality, marker, color=colour, fillstyle=fill, label=label, **size)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter("")
        axes.margins(x=0.2, y=0.15)
        axes.grid(True)
        axes.set_xlabel(RESOURCES[resource])
    panels[0].set_ylabel("quality, %")
    figure.legend(loc="outside upper center", ncols=len(STYLES))
