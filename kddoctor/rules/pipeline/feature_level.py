"""What the place where a feature loss came to rest says of its target and of the map between the two models."""

from kddoctor.probes.feature_levels import FeatureLevels, Level
from kddoctor.probes.stored_student import StoredStudent
from kddoctor.probes.unit_order import UnitOrder
from kddoctor.rules.settings import Deviations, Factor, Share
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations

#: Change between the second and the last quarter of a term that has come to rest.
AT_REST: Share = 0.15
#: Standard errors within which such a change is noise: a target that is one example's, for all, differs by the step.
STEADY: Deviations = 2.0
#: Fall from the first step of a term whose map learns, at the least.
FELL: Factor = 1.5
#: Distance of a level at which a term lies on it: held-out examples stand in for a batch of training rows.
ON_IT: Share = 0.15
#: The same of one number for all units, which leaves the whole variance: it does not depend on what a unit is.
ON_ONE: Share = 0.07
#: Share of a level that is left by a map fitted afterwards, at the most: then a map that learns has far to go.
WITHIN_REACH: Share = 0.75
#: What a map that learns leaves at the most, over what one leaves that is fitted afterwards: sound hints on digits,
#: movielens and newsgroups left 0.98 at the most, as the student's features go the same way.
ABOVE_FIT: Factor = 1.1
#: First value over what an output of zero leaves: a map before training gives next to nothing, or noise of its own.
LOWEST_START: Factor = 0.8
HIGHEST_START: Factor = 5.0
#: In plain units, in which any value may stand for any layer, the first value has to be close to it.
PLAIN_START: Share = 0.125
#: The same where units are compared one by one: the student's first features are as good as nothing.
BESIDE_START: Share = 0.25
#: Above the mean by so much, a map that learns cannot stay: its offset alone would do better.
ABOVE_MEAN: Share = 0.15
#: How the first part of a parameter's name begins that maps one model's features to the other's. Names further inside
#: are a model's own: q_proj.
PROJECTORS = ("projector", "projection", "proj", "regressor", "connector", "hint")
#: Correlation of units in their places beyond that of any order, and standard deviations of such orders: on digits,
#: newsgroups and photographs 0.41 and more where layers were resized to each other, 0.13 at most through any map.
IN_ORDER: Share = 0.3
CLEARLY: Deviations = 4.0
#: What is left of the other terms where anything learnt at all.
LEARNT: Share = 0.8


def without_the_example(found: FeatureLevels, *, learns: bool = False) -> Level | None:
    """The level of a map that learnt all that does not depend on the example: its target belongs to another one.

    learns: whether autograd's graph shows a map that an optimizer trains; else its fall has to show it.
    """
    fell = found.first >= FELL * found.last
    if not (fell or learns) or not _at_rest(found) or _units_beside_units(found):
        return None
    for level in found.levels:
        on_mean = _near(found.last, level.mean, ON_IT) and level.fitted <= WITHIN_REACH * level.mean
        on_one = _near(found.last, level.one_number, ON_ONE) and level.fitted <= WITHIN_REACH * level.one_number
        if (on_mean or on_one) and _starts(found, level):
            return level
    return None


def above_any_map(found: FeatureLevels) -> Level | None:
    """The level that a map with an offset that learns would have reached on any count, and the term did not."""
    if not _at_rest(found) or not found.rest <= LEARNT or without_the_example(found) is not None:
        return None
    if _units_beside_units(found):
        return None
    possible = [
        level
        for level in found.levels
        if _starts(found, level) and (level.unit == "relative" or _near(found.first, level.nothing, PLAIN_START))
    ]
    above = [level for level in possible if found.last >= (1 + ABOVE_MEAN) * level.mean]
    return max(above, key=lambda level: level.mean) if above and len(above) == len(possible) else None


def followed_by_the_student(found: FeatureLevels) -> Level | None:
    """The level of a fixed map that the student's features went along with: below the mean, and above what a map leaves
    that is fitted to these features afterwards.
    """
    if not _at_rest(found) or not found.rest <= LEARNT or _units_beside_units(found):
        return None
    possible = [level for level in found.levels if level.unit == "relative" and _starts(found, level)]
    apart = [
        level
        for level in possible
        if ABOVE_FIT * level.fitted <= found.last <= level.mean and found.last < (1 - ON_IT) * level.beside
    ]
    return max(apart, key=lambda level: level.fitted) if apart and len(apart) == len(possible) else None


def units_in_order(order: UnitOrder | None) -> bool:
    """Whether the student's units follow those of the teacher that stand in their places in layers of other width."""
    return (
        order is not None
        and order.resized != "as they are"
        and order.beyond_chance > IN_ORDER
        and order.beyond_chance > CLEARLY * order.spread
    )


def projector_learns(seen: Observations | None) -> bool:
    """Whether the feature term depends on learnable tensors of neither model, all of which are in an optimizer."""
    graph = None if seen is None else seen.graph
    if graph is None or graph.feature_loss is None or graph.not_in_optimizer is None:
        return False
    return graph.feature_loss.other > 0 and not any(len(shape) > 1 for shape in graph.not_in_optimizer)


def no_projector_learns(seen: Observations | None) -> bool:
    """Whether autograd's graph showed a feature term that depends on no learnable tensor but the models' own."""
    graph = None if seen is None else seen.graph
    return graph is not None and graph.feature_loss is not None and graph.feature_loss.other == 0


def projector_parameters(
    seen: Observations, config: Manifest | None, levels: FeatureLevels | None, stored: StoredStudent | None
) -> list[str]:
    """Parameters that are in no optimizer and are a projector's: not in the student's checkpoint, or so called.

    None of a run without a feature term, which has no use for one, and none where autograd's graph was looked at:
    there the parameters that are listed by name are the student's.
    """
    declared = config is not None and bool(config.distillation.feature_layers)
    looked = seen.graph is not None and seen.graph.not_in_optimizer is not None
    if looked or (not declared and levels is None):
        return []
    return [
        name
        for name in seen.parameters_not_in_optimizer or ()
        if name.lower().startswith(PROJECTORS) or (stored is not None and not stored.holds(name))
    ]


def _units_beside_units(found: FeatureLevels) -> bool:
    """Whether the term is what the student's own units leave, compared one by one: no map lies between them."""
    return any(
        level.unit == "plain"
        and _near(found.last, level.beside, ON_IT)
        and _near(found.first, level.nothing, BESIDE_START)
        for level in found.levels
    )


def _at_rest(found: FeatureLevels) -> bool:
    return abs(found.early - found.last) <= max(AT_REST * found.last, STEADY * found.noise)


def _starts(found: FeatureLevels, level: Level) -> bool:
    return LOWEST_START * level.nothing <= found.first <= HIGHEST_START * level.nothing


def _near(value: float, level: float, share: float) -> bool:
    return abs(value - level) <= share * level
