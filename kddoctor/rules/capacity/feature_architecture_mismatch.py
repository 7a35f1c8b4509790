"""A feature loss that presumes two models of the same kind.

What it checks
    Where a feature term is part of the recorded loss: whether it hardly fell over the run although it makes up much of
    the loss, in a student that does not fit its training rows, or where it did not fall at all; whether the student's
    units follow those of the teacher that stood in their places when a layer was cut, pooled or interpolated to the
    other's width; and whether the labels alone make a better student.

Why it hurts
    Units and maps of different architectures have no common order. A term that cannot be fitted only pulls.

What it looks like
    The student is below its labels-only twin only while the feature term is on; the term lies on a plateau.

Told apart from
    KD404, where another pair of layers would fit and the term does fall. KD208, where a smaller weight helps. KD112,
    whose projector has no optimizer.

Fix
    Drop the term, or match relations, or put a projector that learns and a normalisation between the two.

Treat automatically
    Yes: the student is retrained without the feature term.

Read more
    Tian et al. 2020, arXiv:1910.10699: attention transfer from VGG13 to MobileNetV2 costs 5 points.
"""

from kddoctor.probes.feature_term import FeatureTerm
from kddoctor.probes.measurements import Gaps, TrainGaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.unit_order import UnitOrder
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.optimisation.harm import severity
from kddoctor.rules.pipeline.feature_level import IN_ORDER, no_projector_learns, projector_learns, units_in_order
from kddoctor.rules.registry import rule
from kddoctor.rules.settings import Factor, Share
from kddoctor.run.observations import Observations

PROBE = "feature-term"
#: Share of its first value that a feature term keeps which was not fitted, and share of the loss that counts.
STAYS: Share = 0.4
COUNTS: Share = 0.3
#: Share of its first value of a term that has not been fitted at all.
STAYS_WHOLE: Share = 0.8
#: Variance of the term's changes between epochs over that of its noise, where it is another term in each; of one that
#: stays the same at most 3.1 on the digits.
REDRAWN: Factor = 6.0
#: Points of training accuracy below the teacher from which a student does not fit.
UNFIT: Share = 0.05
#: Nats for a student that fits its training rows, and for one that does not.
KEEPS_UP, FALLS_SHORT = 4.0, 2.0
#: Nats for units that were made to follow others which merely stood in their places.
IN_PLACES = 3.0
#: Nats where a projector that does not learn (KD112), which leaves the same trace, was not looked for.
UNSEEN = 3.0


@rule(
    "KD403",
    name="feature-architecture-mismatch",
    family="capacity",
    title="The feature loss presumes two models of the same kind",
    stage=54,
    reads=(FeatureTerm,),
    uses=(TrainGaps, Gaps, Observations, UnitOrder),
    masks=("KD401", "KD402", "KD405", "KD502"),
)
def feature_architecture_mismatch(
    term: FeatureTerm,
    train: TrainGaps | None,
    held_out: Gaps | None,
    seen: Observations | None,
    order: UnitOrder | None = None,
) -> Finding:
    finding = untrained_projector(Finding(), seen)
    if seen is None or seen.graph is None:
        finding = finding.against(
            PROBE,
            "not_in_optimizer",
            None,
            "nobody looked whether a projector lies between the two models, and learns",
            weight=UNSEEN,
        )
    if projector_learns(seen):
        finding = finding.against(
            "observations",
            "graph.feature_loss.other",
            None,
            "a map that an optimizer trains lies between the two models, whatever their kinds",
            weight=6.0,
        )
    text = (
        f"the feature term ended at {term.left:.0%} of its first value and makes up {term.share_last:.0%} of the loss"
    )
    if term.left > STAYS and term.share_last > COUNTS:
        finding = finding.supported_by(
            PROBE, "left", term.left, text, threshold=STAYS, origin="calibrated on digits and language", weight=4.0
        )
    else:
        finding = finding.against(
            PROBE, "left", term.left, text, threshold=STAYS, origin="calibrated on digits and language", weight=4.0
        )
    if term.redrawn is not None and term.redrawn > REDRAWN:
        finding = finding.against(
            PROBE,
            "redrawn",
            term.redrawn,
            "from epoch to epoch the term compares other layers: none of them can be fitted",
            threshold=REDRAWN,
            origin="calibrated on digits",
            weight=6.0,
        )
    resized = units_in_order(order) and no_projector_learns(seen)
    if order is not None and resized:
        finding = finding.supported_by(
            "unit-order",
            "together",
            order.together,
            f"units of {order.student} follow those of {order.teacher} in their places, {order.resized} to one width "
            f"(correlation {order.together:.2f}, {order.by_chance:.2f} in other orders): units of two networks have no "
            "common order, and no map lies between them",
            threshold=order.by_chance + IN_ORDER,
            origin="calibrated on digits, newsgroups and photographs",
            weight=IN_PLACES,
        )
    # A term that was fitted in part is not what a student that fits its training rows pays for, for certain.
    # Nor is one that was fitted at the cost of another order of the units.
    finding = unfit(finding, None if resized else train, held_out, excused=term.left > STAYS_WHOLE)
    return finding.saying(
        "The feature term cannot be fitted, and holds the student back.",
        where="the feature loss",
        severity=severity(held_out),
    ).prescribe("no feature term, or one through a projector that learns", treatment__feature_term="off")


def untrained_projector(finding: Finding, seen: Observations | None) -> Finding:
    """A projector that no optimizer holds explains a feature term that cannot be fitted."""
    outside = None if seen is None or seen.graph is None else seen.graph.not_in_optimizer
    if not outside:
        return finding
    return finding.against(
        "observations",
        "not_in_optimizer",
        float(len(outside)),
        f"{len(outside)} tensors that the loss would train, of neither model, are in no optimizer",
        threshold=0,
        weight=8.0,
    )


def unfit(finding: Finding, train: TrainGaps | None, held_out: Gaps | None, *, excused: bool = False) -> Finding:
    """Whether the student pays for its feature term: on training rows, and against its labels-only twin.

    excused: that it fits its training rows does not count where it is the worse for it elsewhere.
    """
    if train is not None:
        gaps = train.gaps
        below = gaps.teacher_accuracy - gaps.student_accuracy
        text = f"training rows: student {gaps.student_accuracy:.1%}, teacher {gaps.teacher_accuracy:.1%}"
        fits = below <= UNFIT
        if not fits:
            finding = finding.supported_by(
                "example-gaps", "train_accuracy", gaps.student_accuracy, text, threshold=UNFIT, weight=FALLS_SHORT
            )
        elif not (excused and _pays(held_out)):
            finding = finding.against(
                "example-gaps", "train_accuracy", gaps.student_accuracy, text, threshold=UNFIT, weight=KEEPS_UP
            )
    if held_out is None or not _pays(held_out):
        return finding
    own, twin = held_out.gaps.student_accuracy, held_out.gaps.baseline_accuracy
    return finding.supported_by(
        "example-gaps",
        "baseline_accuracy",
        twin,
        f"held-out rows: {own:.1%} right, {twin:.1%} when trained on labels alone",
        grade=Grade.INTERVENTIONAL,
        weight=2.0,
    )


def _pays(held_out: Gaps | None) -> bool:
    """Whether the labels alone make a better student, on held-out rows and beyond noise."""
    if held_out is None or held_out.gaps.baseline_accuracy is None:
        return False
    own, twin = held_out.gaps.student_accuracy, held_out.gaps.baseline_accuracy
    return twin > own + noise_of_difference(standard_error(own, held_out.gaps.n))
