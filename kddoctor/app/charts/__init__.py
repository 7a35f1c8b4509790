"""One file of Altair charts for each view."""

from collections.abc import Callable, Mapping
from typing import Any

from kddoctor.app.charts.capacity_or_training import capacity_or_training
from kddoctor.app.charts.confusion_difference import confusion_difference
from kddoctor.app.charts.entropy_curve import entropy_curve
from kddoctor.app.charts.gap_map import gap_map
from kddoctor.app.charts.gap_waterfall import gap_waterfall
from kddoctor.app.charts.layer_similarity import layer_similarity
from kddoctor.app.charts.loss_balance import loss_balance
from kddoctor.app.charts.reliability import reliability
from kddoctor.app.charts.similarity_over_time import similarity_over_time

#: How a view is drawn that has one picture, by the view's name.
CHARTS: Mapping[str, Callable[..., Any]] = {
    "capacity_or_training": capacity_or_training,
    "confusion_difference": confusion_difference,
    "entropy_curve": entropy_curve,
    "gap_map": gap_map,
    "gap_waterfall": gap_waterfall,
    "layer_similarity": layer_similarity,
    "loss_balance": loss_balance,
    "reliability": reliability,
    "similarity_over_time": similarity_over_time,
}
