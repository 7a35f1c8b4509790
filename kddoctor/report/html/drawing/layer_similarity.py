"""Heat map of CKA by layer pair, the matched path drawn over it."""

from typing import TYPE_CHECKING

from kddoctor.report.html.palette import FOREGROUND, STUDENT
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Layers up to which each cell shows its number.
NUMBERED = 12
#: Lightness of cividis above which dark text reads better.
BRIGHT = 0.55
LONGEST = 24


def draw_layer_similarity(figure: "Figure", view: View) -> None:
    """Cividis from 0 to 1; dots join the pairs of the path, a ring marks the pair for a hint."""
    axes = figure.subplots()
    frame = view.frame
    table = frame.pivot(index="teacher_layer", columns="student_layer", values="cka")
    teachers, students = (list(dict.fromkeys(frame[name])) for name in ("teacher_layer", "student_layer"))
    cka = table.loc[teachers, students].to_numpy()
    mesh = axes.pcolormesh(cka, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(mesh, ax=axes, label="CKA")
    if max(cka.shape) <= NUMBERED:
        for i, row in enumerate(cka):
            for j, value in enumerate(row):
                shade = "black" if value > BRIGHT else "white"
                axes.text(j + 0.5, i + 0.25, f"{value:.2f}", ha="center", va="center", color=shade, fontsize=8)
    path = frame[frame["on_path"]]
    x = [students.index(name) + 0.5 for name in path["student_layer"]]
    y = [teachers.index(name) + 0.62 for name in path["teacher_layer"]]
    axes.plot(x, y, "o-", color="white", markeredgecolor="black", markersize=5, linewidth=1)
    hint = frame[frame["suggested"]].iloc[0]
    centre = students.index(hint["student_layer"]) + 0.5, teachers.index(hint["teacher_layer"]) + 0.62
    axes.plot(*centre, "o", markersize=12, fillstyle="none", color=STUDENT, markeredgewidth=2.2)
    axes.set_xticks([j + 0.5 for j in range(len(students))], [name[-LONGEST:] for name in students], rotation=35)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    axes.set_yticks([i + 0.5 for i in range(len(teachers))], [name[-LONGEST:] for name in teachers])
    axes.set_xlabel("student's layer", color=FOREGROUND)
    axes.set_ylabel("teacher's layer", color=FOREGROUND)
