"""One view-model for each picture or table: the numbers, the question that they answer, and the answer."""

from kddoctor.report.views.before_after import before_after
from kddoctor.report.views.capacity_or_training import capacity_or_training
from kddoctor.report.views.cartography import cartography
from kddoctor.report.views.causes import causes
from kddoctor.report.views.checks import checks
from kddoctor.report.views.confusion_difference import confusion_difference
from kddoctor.report.views.entropy_curve import entropy_curve
from kddoctor.report.views.examples import Examples, read_examples
from kddoctor.report.views.gap_map import gap_map
from kddoctor.report.views.gap_waterfall import gap_waterfall
from kddoctor.report.views.layer_similarity import layer_similarity
from kddoctor.report.views.loss_balance import loss_balance
from kddoctor.report.views.reliability import reliability
from kddoctor.report.views.similarity_over_time import similarity_over_time
from kddoctor.report.views.soft_targets_of import soft_targets_of
from kddoctor.report.views.tradeoff import tradeoff
from kddoctor.report.views.training_curves import training_curves
from kddoctor.report.views.view import Missing, View
from kddoctor.report.views.worst_examples import worst_examples

__all__ = [
    "Examples",
    "Missing",
    "View",
    "before_after",
    "capacity_or_training",
    "cartography",
    "causes",
    "checks",
    "confusion_difference",
    "entropy_curve",
    "gap_map",
    "gap_waterfall",
    "layer_similarity",
    "loss_balance",
    "read_examples",
    "reliability",
    "similarity_over_time",
    "soft_targets_of",
    "tradeoff",
    "training_curves",
    "worst_examples",
]
