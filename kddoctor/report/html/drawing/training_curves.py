"""Losses, quality and learning rate over the steps, each in a panel of its own."""

from typing import TYPE_CHECKING

from kddoctor.report.html.drawing.event_marks import mark_events
from kddoctor.report.html.palette import ALONE, GOOD, SOFT, STUDENT, TEACHER, WARN
from kddoctor.report.views.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (
    ("loss", ("loss", "kd_loss", "ce_loss", "feature_loss")),
    ("quality", ("student_accuracy", "accuracy", "agreement", "auc", "ndcg")),
    ("learning rate", ("lr",)),
)
COLOURS = {
    "loss": SOFT,
    "kd_loss": TEACHER,
    "ce_loss": STUDENT,
    "feature_loss": GOOD,
    "student_accuracy": STUDENT,
    "accuracy": STUDENT,
    "agreement": TEACHER,
    "auc": STUDENT,
    "ndcg": WARN,
    "lr": ALONE,
}
LINES = {"train": ":", "val": "-", "test": "--"}
#: Points that a training line runs over, as a share of the curve.
SMOOTHED = 0.1


def draw_training_curves(figure: "Figure", view: View) -> None:
    """Dotted: training, as a running mean; solid: held out. Lines across all panels: what happened when."""
    frame = view.frame
    shown = [(name, keys) for name, keys in PANELS if frame["key"].isin(keys).any()]
    heights = [1 if name == "learning rate" else 3 for name, _ in shown]
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, keys) in zip(panels, shown, strict=True):
        _panel(axes, view, keys)
        axes.set_ylabel("rate" if name == "learning rate" else name)
        axes.grid(True)
    mark_events(panels, view.events)
    panels[-1].set_xlabel("step")


def _panel(axes: "Axes", view: View, keys: tuple[str, ...]) -> None:
    frame = view.frame
    for key in keys:
        for split, line in LINES.items():
            curve = frame[(frame["key"] == key) & (frame["split"] == split)]
            if curve.empty:
                continue
            window = max(1, int(SMOOTHED * len(curve)))
            noisy = split == "train" and key != "lr"
            smooth = curve["value"].rolling(window if noisy else 1, center=True, min_periods=1).mean()
            label = f"{key.replace('_', ' ')}, {split}"
            axes.plot(curve["step"], smooth, line, color=COLOURS[key], linewidth=1.4, label=label)
    if keys == ("lr",):
        axes.set_ylim(bottom=0)
    else:
        axes.legend(loc="best", fontsize=8, ncols=2)
