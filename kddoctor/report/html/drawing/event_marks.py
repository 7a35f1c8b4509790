"""What happened during the training, as lines across panels that share its steps."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kddoctor.report.html.palette import FOREGROUND, SOFT
from kddoctor.report.views.training_events import GLYPHS
from kddoctor.report.views.view import Event

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", "--", "-.", ":")


def mark_events(panels: Iterable["Axes"], events: Sequence[Event]) -> None:
    """A thin line for each event in every panel, and its sign above the first one."""
    dashes = dict(zip(GLYPHS, DASHES, strict=True))
    for number, axes in enumerate(panels):
        for event in events:
            axes.axvline(event.step, color=SOFT, linewidth=0.8, linestyle=dashes[event.kind])
            if number == 0:
                axes.annotate(
                    GLYPHS[event.kind][0],
                    (event.step, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    fontsize=9,
                    color=FOREGROUND,
                )
