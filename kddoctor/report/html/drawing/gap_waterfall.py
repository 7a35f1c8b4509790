"""Levels and steps in points, from the labels-only student up to the teacher."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import ALONE, BACKGROUND, FOREGROUND, GOOD, LINE, SOFT, STUDENT, TEACHER, WARN
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Characters of a step's name.
LONGEST = 44
COLOURS = {"this student": STUDENT, "teacher": TEACHER, "labels only": ALONE}


def draw_gap_waterfall(figure: "Figure", view: View) -> None:
    """Solid: measured. Hatched: estimated. Outline: not explained."""
    axes = figure.subplots()
    rows = view.frame.iloc[::-1].reset_index(drop=True)
    for y, (_, row) in enumerate(rows.iterrows()):
        style = {"height": 0.62, "left": row["start"], "width": row["points"]}
        if row["kind"] == "level":
            axes.barh(y, color=COLOURS.get(row["step"], SOFT), **style)
        elif row["kind"] == "unexplained":
            axes.barh(y, facecolor="none", edgecolor=FOREGROUND, linestyle="--", linewidth=1, **style)
        else:
            hatch = "////" if row["kind"] == "estimated" else None
            axes.barh(y, color=GOOD if row["points"] >= 0 else WARN, hatch=hatch, **style)
        end = max(row["start"], row["end"])
        text = f"{row['end']:.1f}" if row["kind"] == "level" else f"{row['points']:+.1f}"
        # On a patch of background, since the teacher's line runs through some of them.
        patch = {"facecolor": BACKGROUND, "edgecolor": "none", "pad": 1}
        axes.annotate(text, (end, y), xytext=(5, 0), textcoords="offset points", va="center", bbox=patch)
    axes.axvline(view.marks["teacher"], color=TEACHER, linestyle=(0, (5, 3)), linewidth=1.2, zorder=0.5)
    axes.set_yticks(range(len(rows)), [_short(step) for step in rows["step"]])
    axes.set(xlim=(0, 1.1 * max(rows["end"].max(), rows["start"].max(), 1)), xlabel="points")
    axes.xaxis.grid(True, color=LINE)
    axes.set_axisbelow(True)


def _short(step: str) -> str:
    return step if len(step) <= LONGEST else f"{step[: LONGEST - 1]}…"
