"""Every example by how sure of it the student was, and by how much that changed."""

from typing import TYPE_CHECKING, Any

from kddoctor.report.html.palette import SOFT, STUDENT, TEACHER, WARN
from kddoctor.report.views.cartography import REGIONS, mapped
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = dict(zip(REGIONS, ((TEACHER, "o"), (WARN, "D"), (STUDENT, "s")), strict=True))


def draw_cartography(figure: "Figure", view: View) -> None:
    """Mean probability of the label against its standard deviation, by region."""
    axes = figure.subplots()
    table = mapped(view.frame, view.marks["sure"])
    for region, (colour, marker) in STYLES.items():
        part = table[table["region"] == region]
        label = f"{region}: {len(part):,}"
        style: dict[str, Any] = {"color": colour, "markersize": 3.5, "markerfacecolor": "none", "markeredgewidth": 0.9}
        axes.plot(part["variability"], 100 * part["confidence"], marker, label=label, **style)
    axes.axhline(100 * view.marks["sure"], color=SOFT, linewidth=1, linestyle="--")
    axes.set(xlim=(0, 0.5), ylim=(0, 102), xlabel="variability over the snapshots", ylabel="mean probability, %")
    axes.grid(True)
    figure.legend(loc="outside upper right", ncols=3)
