"""CKA of matched layers over the training."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import ALONE, GOOD, STUDENT, TEACHER, WARN
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (TEACHER, STUDENT, ALONE, GOOD, WARN)
MARKERS = "osD^v"
LINES = ("-", "--", "-.", ":")


def draw_similarity_over_time(figure: "Figure", view: View) -> None:
    """A line for each student layer, with the teacher's layer that it resembles most at the end."""
    axes = figure.subplots()
    matched = view.frame[view.frame["partner"]]
    for number, ((teacher, student), curve) in enumerate(
        matched.groupby(["teacher_layer", "student_layer"], sort=False)
    ):
        axes.plot(
            curve["step"],
            curve["cka"],
            MARKERS[number % len(MARKERS)] + LINES[number % len(LINES)],
            color=COLOURS[number % len(COLOURS)],
            markersize=4,
            linewidth=1.4,
            label=f"{student} ~ {teacher}",
        )
    axes.set(ylim=(0, 1.02), xlabel="step", ylabel="CKA")
    axes.grid(True)
    figure.legend(loc="outside upper right", ncols=2, title="student ~ teacher", fontsize=8)
