"""Where the student mixes classes up more, or less, than its teacher: a map, or dots for the largest pairs."""

from typing import TYPE_CHECKING

from kddoctor.report.html.drawing.shapes import shaded_cells
from kddoctor.report.html.palette import BACKGROUND, FOREGROUND, LINE, STUDENT, TEACHER
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Characters of a class's name.
LONGEST = 14
#: Classes up to which each is named on the axes.
NAMED = 20


def draw_confusion_difference(figure: "Figure", view: View) -> None:
    """Orange: the student does so more often; blue: less often. The deeper, the larger the label's share of rows."""
    axes = figure.subplots()
    (_matrix if view.marks["matrix"] else _dots)(axes, view)


def _matrix(axes: "Axes", view: View) -> None:
    frame, classes = view.frame, int(view.marks["classes"])
    largest = float(frame["share"].abs().max() or 1)
    for colour, chosen in ((STUDENT, frame["difference"] > 0), (TEACHER, frame["difference"] < 0)):
        part = frame[chosen]
        cells = [(a - 0.5, a + 0.5, b - 0.5, b + 0.5) for a, b in zip(part["answer"], part["label"], strict=True)]
        shaded_cells(axes, cells, part["share"].abs().to_numpy() / largest, colour)
        if classes <= NAMED:
            for _, row in part.iterrows():
                shade = BACKGROUND if abs(row["share"]) > largest / 2 else FOREGROUND
                text = f"{row['difference']:+d}"
                axes.text(row["answer"], row["label"], text, ha="center", va="center", fontsize=8, color=shade)
    names = dict(zip(frame["label"], frame["label_name"], strict=True))
    names |= dict(zip(frame["answer"], frame["answer_name"], strict=True))
    ticks = range(classes) if classes <= NAMED else range(0, classes, 5)
    texts = [str(names.get(tick, tick))[:LONGEST] for tick in ticks]
    axes.set_xticks(ticks, texts, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, texts)
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5), xlabel="student's answer", ylabel="label")
    axes.grid(True, color=LINE)
    axes.set_axisbelow(True)


def _dots(axes: "Axes", view: View) -> None:
    rows = view.frame.iloc[::-1].reset_index(drop=True)
    axes.hlines(rows.index, rows["teacher_rows"], rows["student_rows"], color=LINE, linewidth=3)
    axes.plot(rows["teacher_rows"], rows.index, "s", color=TEACHER, markersize=5, label="teacher")
    axes.plot(rows["student_rows"], rows.index, "o", color=STUDENT, markersize=6, label="student")
    named = [f"{a[:LONGEST]} → {b[:LONGEST]}" for a, b in zip(rows["label_name"], rows["answer_name"], strict=True)]
    axes.set_yticks(rows.index, named)
    axes.set(xlabel="rows mixed up")
    axes.xaxis.grid(True, color=LINE)
    axes.legend(loc="lower right")
