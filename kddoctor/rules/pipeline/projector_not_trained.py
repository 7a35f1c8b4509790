"""The layer that maps the student's features to the teacher's never learns.

What it checks
    Whether the loss depends on learnable tensors of neither model that no optimizer holds and that nothing else
    changes either; whether parameters that are in no optimizer are, by their names, a projector's and not in the
    student's checkpoint; and where a projector leaves no trace in the graph, or is
    held by an optimizer whose rate for it may be zero, whether the feature loss rests above what even
    the mean of its target would leave, which every projector with an offset learns first.

Why it hurts
    The student is asked to match the teacher's features through a random map, which pulls its own features out of
    shape instead of towards the teacher's.

What it looks like
    A feature loss that levels off high; a student that is worse the larger the feature weight.

Told apart from
    KD403, where the projector learns and the architectures do not fit, or where there is none: units that were cut or
    pooled to one width follow each other in their places. KD113, whose projector
    learns the mean and nothing else. KD404, where the layers are paired wrongly.
    KD506, where it is the student's own layers that do not learn.

Fix
    - optimizer = SGD(student.parameters(), lr)
    + optimizer = SGD([*student.parameters(), *projector.parameters()], lr)
    And make the projector once, before the loop.

Treat automatically
    Yes: the student is retrained without the feature loss. The projector is the loop's own, and so is its cure.

Read more
    Romero et al. 2015, arXiv:1412.6550, section 2.2.
"""

from kddoctor.probes.feature_levels import FeatureLevels, Level
from kddoctor.probes.stored_student import StoredStudent
from kddoctor.probes.unit_order import UnitOrder
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.pipeline.feature_level import (
    ABOVE_FIT,
    ABOVE_MEAN,
    AT_REST,
    IN_ORDER,
    above_any_map,
    followed_by_the_student,
    no_projector_learns,
    projector_parameters,
    units_in_order,
)
from kddoctor.rules.registry import rule
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Graph, Observations

PROBE = "observations"


@rule(
    "KD112",
    name="projector-not-trained",
    family="pipeline",
    title="The projector between the features never learns",
    stage=27,
    reads=(Observations,),
    uses=(FeatureLevels, Manifest, StoredStudent, UnitOrder),
    masks=("KD208", "KD401", "KD402", "KD403", "KD404", "KD405", "KD501", "KD502"),
)
def projector_not_trained(
    seen: Observations,
    levels: FeatureLevels | None = None,
    config: Manifest | None = None,
    stored: StoredStudent | None = None,
    order: UnitOrder | None = None,
) -> Finding | NotExamined:
    graph = seen.graph
    level = None if levels is None else above_any_map(levels)
    named = projector_parameters(seen, config, levels, stored)
    if named:
        return _said(_by_names(Finding(), named, stored))
    if graph is None or graph.not_in_optimizer is None or seen.parameters_not_in_optimizer is None:
        if levels is not None and level is not None:
            return _said(_by_level(Finding(), levels, level))
        return NotExamined(
            ("observations.graph", "optimizer"),
            "pass optimizer=… to kddoctor.record, and call run.step before loss.backward()",
        )
    # Single numbers are no projectors.
    shapes = [shape for shape in graph.not_in_optimizer if len(shape) > 1]
    if not shapes and no_projector_learns(seen) and not graph.trained_elsewhere:
        if order is not None and units_in_order(order):
            return Finding().against(
                "unit-order",
                "together",
                order.together,
                f"units of {order.student} follow those of {order.teacher} in their places ({order.resized}), which "
                "no map between the two would leave",
                threshold=order.by_chance + IN_ORDER,
                origin="calibrated on digits, newsgroups and photographs",
                weight=6.0,
            )
        # One without gradients leaves no trace in the graph.
        if levels is not None and level is not None:
            return _said(_by_level(Finding(), levels, level))
        followed = None if levels is None else followed_by_the_student(levels)
        if levels is None or followed is None:
            return Finding()
        return _said(_followed(Finding(), levels, followed), "The map between the features never learns.")
    if not shapes or graph.trained_elsewhere:
        # The layer that is compared may be another one than was recorded, whose mean is no limit.
        unmoved = levels is not None and levels.last >= (1 - AT_REST) * levels.first
        stands = unmoved and graph.feature_loss is not None and graph.feature_loss.other > 0
        if levels is not None and level is not None and stands and not graph.trained_elsewhere:
            return _said(_by_level(Finding(), levels, level), "A projector that an optimizer holds never changed.")
        return _sound(Finding(), graph)
    listed = ", ".join("x".join(map(str, shape)) for shape in shapes[:3])
    feature = graph.feature_loss is not None and graph.feature_loss.other > 0
    return _said(
        Finding().supported_by(
            PROBE,
            "graph.not_in_optimizer",
            float(len(shapes)),
            f"the loss depends on {len(shapes)} learnable tensors of neither model ({listed}) that no optimizer holds",
            threshold=0.0,
            grade=Grade.PROOF if feature else Grade.INTERVENTIONAL,
        )
    )


def _said(
    finding: Finding, summary: str = "A learnable layer of the loss is in no optimizer and never changed."
) -> Finding:
    return finding.saying(
        summary,
        where="the training loop: parameters of the optimizer",
    ).prescribe(
        "give the projector's parameters to the optimizer, with a learning rate; until then, no feature term",
        treatment__feature_term="off",
    )


def _by_names(finding: Finding, named: list[str], stored: StoredStudent | None) -> Finding:
    foreign = stored is not None and not any(stored.holds(name) for name in named)
    where = ", and not in the student's checkpoint" if foreign else ""
    return finding.supported_by(
        PROBE,
        "parameters_not_in_optimizer",
        float(len(named)),
        f"{len(named)} learnable tensors are in no optimizer{where}: {', '.join(named[:3])}",
        threshold=0.0,
        grade=Grade.PROOF if foreign else Grade.INTERVENTIONAL,
    )


def _by_level(finding: Finding, levels: FeatureLevels, level: Level) -> Finding:
    return finding.supported_by(
        "feature-levels",
        "last",
        levels.last,
        f"the feature term rests at {levels.last:.3g}, above what the mean of {level.layer} would leave "
        f"({level.mean:.3g}), which any map with an offset learns first; one that is fitted to the student's features "
        f"afterwards leaves {level.fitted:.3g}",
        threshold=(1 + ABOVE_MEAN) * level.mean,
        origin="identity",
        grade=Grade.INTERVENTIONAL,
    )


def _followed(finding: Finding, levels: FeatureLevels, level: Level) -> Finding:
    return finding.supported_by(
        "feature-levels",
        "last",
        levels.last,
        f"the feature term depends on no learnable tensor but the models' own and rests at {levels.last:.3g}, where a "
        f"map that is fitted to the student's features afterwards leaves {level.fitted:.3g} of {level.layer}, and no "
        f"map at all {level.beside:.3g}: the student alone went along with one that stood still",
        threshold=ABOVE_FIT * level.fitted,
        origin="calibrated on digits, movielens and newsgroups",
        weight=5.0,
    )


def _sound(finding: Finding, graph: Graph) -> Finding:
    text = (
        "what the loss depends on beside the models is trained"
        if graph.not_in_optimizer
        else "every learnable tensor that the loss depends on is in an optimizer"
    )
    return finding.against(PROBE, "graph.not_in_optimizer", 0.0, text, threshold=0.0, grade=Grade.PROOF)
