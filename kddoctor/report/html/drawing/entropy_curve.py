"""Entropy of the soft targets by temperature, above the mass outside the top class."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import FOREGROUND, GOOD, STUDENT, TEACHER
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = (0.5, 1, 2, 4, 8, 16, 32)


def draw_entropy_curve(figure: "Figure", view: View) -> None:
    """Median and 10-90 % band; the sweet spot is shaded, this run's temperature marked."""
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    frame, marks = view.frame, view.marks
    x = frame["temperature"]
    top.fill_between(x, frame["entropy_low"], frame["entropy_high"], color=TEACHER, alpha=0.2, linewidth=0)
    top.plot(x, frame["entropy"], color=TEACHER)
    below.plot(x, 100 * frame["outside_top"], color=STUDENT, linestyle="--")
    for axes in (top, below):
        axes.set_xscale("log", base=2)
        axes.set_xlim(x.min(), x.max())
        axes.set_ylim(bottom=0)
        axes.grid(True)
        if "sweet_low" in marks:
            axes.axvspan(marks["sweet_low"], marks["sweet_high"], color=GOOD, alpha=0.2, linewidth=0)
        if "temperature" in marks:
            axes.axvline(marks["temperature"], color=FOREGROUND, linestyle=":", linewidth=1.4)
    if "temperature" in marks:
        top.plot(marks["temperature"], marks["entropy"], "o", color=FOREGROUND)
        below.plot(marks["temperature"], 100 * marks["outside_top"], "o", color=FOREGROUND)
        right = marks["temperature"] < 8
        top.annotate(
            f"this run, T = {marks['temperature']:g}",
            (marks["temperature"], marks["entropy"]),
            xytext=(8 if right else -8, -12),
            textcoords="offset points",
            ha="left" if right else "right",
        )
    if "sweet_low" in marks:
        middle = (marks["sweet_low"] * marks["sweet_high"]) ** 0.5
        top.annotate("sweet spot", (middle, 1), xycoords=top.get_xaxis_transform(), ha="center", va="bottom")
    top.set_ylabel("entropy, nats")
    below.set(ylabel="outside top, %", xlabel="temperature")
    below.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    below.minorticks_off()
