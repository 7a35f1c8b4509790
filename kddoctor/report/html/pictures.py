"""Which picture belongs to which view, and what stands in its table of numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from kddoctor.report.html.drawing.before_after import draw_before_after
from kddoctor.report.html.drawing.capacity_or_training import draw_capacity_or_training
from kddoctor.report.html.drawing.cartography import draw_cartography
from kddoctor.report.html.drawing.confusion_difference import draw_confusion_difference
from kddoctor.report.html.drawing.entropy_curve import draw_entropy_curve
from kddoctor.report.html.drawing.gap_map import draw_gap_map
from kddoctor.report.html.drawing.gap_waterfall import draw_gap_waterfall
from kddoctor.report.html.drawing.layer_similarity import draw_layer_similarity
from kddoctor.report.html.drawing.loss_balance import draw_loss_balance
from kddoctor.report.html.drawing.reliability import draw_reliability
from kddoctor.report.html.drawing.similarity_over_time import draw_similarity_over_time
from kddoctor.report.html.drawing.tradeoff import draw_tradeoff
from kddoctor.report.html.drawing.training_curves import draw_training_curves
from kddoctor.report.html.figure_svg import Draw, inlined_svg
from kddoctor.report.html.tables import Table, table_of
from kddoctor.report.views.cartography import mapped
from kddoctor.report.views.view import View


@dataclass(frozen=True)
class Picture:
    """One figure of the page: an SVG element, and its numbers."""

    name: str
    question: str
    answer: str
    svg: str
    table: Table
    notes: tuple[str, ...]


#: How a view is drawn, and its height in inches from its frame.
DRAWN: Mapping[str, tuple[Draw, Callable[[View], float]]] = {
    "gap_waterfall": (draw_gap_waterfall, lambda view: 0.9 + 0.34 * len(view.frame)),
    "entropy_curve": (draw_entropy_curve, lambda view: 4.0),
    "loss_balance": (draw_loss_balance, lambda view: 3.9 if view.frame["cosine"].notna().any() else 2.6),
    "training_curves": (draw_training_curves, lambda view: 4.4),
    "capacity_or_training": (draw_capacity_or_training, lambda view: 1.0 + 0.6 * view.frame["model"].nunique()),
    "layer_similarity": (draw_layer_similarity, lambda view: 1.6 + 0.32 * view.frame["teacher_layer"].nunique()),
    "similarity_over_time": (draw_similarity_over_time, lambda view: 3.2),
    "cartography": (draw_cartography, lambda view: 4.0),
    "gap_map": (draw_gap_map, lambda view: 4.0),
    "confusion_difference": (draw_confusion_difference, lambda view: 4.8),
    "reliability": (draw_reliability, lambda view: 4.6),
    "tradeoff": (draw_tradeoff, lambda view: 3.0),
    "before_after": (draw_before_after, lambda view: 1.2 + 0.42 * (view.frame["kind"] == "metric").sum()),
}


def picture_of(view: View) -> Picture:
    """The view drawn. Raises KeyError for a view that is no picture."""
    draw, height = DRAWN[view.name]
    svg = inlined_svg(view, draw, height(view))
    return Picture(view.name, view.question, view.answer, svg, table_of(_numbers(view)), view.notes)


def _numbers(view: View) -> pd.DataFrame:
    """The frame; of a map of bins its regions, of curves the last value and the best and worst ones, of examples over
    time one row each, of layers over time the matched ones.
    """
    if view.name == "gap_map":
        bins = view.frame[view.frame["kind"] == "bin"]
        return bins.groupby("region")["count"].sum().reset_index()
    if view.name == "training_curves":
        curves = view.frame.groupby(["key", "split"], sort=False)["value"]
        return curves.agg(["first", "last", "min", "max", "count"]).reset_index()
    if view.name == "cartography":
        return mapped(view.frame, view.marks["sure"]).sort_values(["region", "variability"], ascending=[True, False])
    return view.frame[view.frame["partner"]] if view.name == "similarity_over_time" else view.frame
