"""Where a feature loss comes to rest: with a map that learns, one that does not, and targets of other examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kddoctor.probes.feature_levels import FeatureLevels, feature_levels
from kddoctor.probes.unit_order import unit_order
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.pipeline.feature_level import above_any_map, units_in_order, without_the_example
from kddoctor.rules.pipeline.projector_not_trained import projector_not_trained
from kddoctor.rules.pipeline.wrong_tensor_distilled import wrong_tensor_distilled
from kddoctor.run.manifest import manifest_from
from kddoctor.run.observations import observations_from
from tests.rules.judging import strongest

PLAIN = manifest_from({"task": "multiclass", "num_classes": 10})
RNG = np.random.default_rng(0)
STUDENT = RNG.normal(size=(256, 12))
#: Features with a mean, most of whose rest follows from the student's.
TEACHER = 1.0 + STUDENT @ RNG.normal(scale=0.3, size=(12, 30)) + 0.2 * RNG.normal(size=(256, 30))
VARIANCE = float(TEACHER.var())
MEAN = float(TEACHER.var(axis=0).mean() / VARIANCE)
NOTHING = float((TEACHER**2).mean() / VARIANCE)


def levels(*path: float, rest: float = 0.1) -> FeatureLevels:
    """A term that goes through these values, each for six steps, in units of the teacher's variance."""
    term = np.repeat(np.array(path), 6)
    term[0] = path[0]
    other = np.linspace(2.0, 2.0 * rest, len(term))
    other[-len(term) // 2 :] = 2.0 * rest
    found = feature_levels(term, [other], {"last": TEACHER}, {"hidden": STUDENT})
    assert found is not None
    return found


def test_levels_are_those_of_the_recorded_features() -> None:
    level = next(level for level in levels(2.0, 1.0).levels if level.unit == "relative")
    assert level.nothing == pytest.approx(NOTHING)
    assert level.mean == pytest.approx(MEAN)
    assert level.one_number == pytest.approx(1.0)
    assert level.fitted < 0.3 * MEAN


def test_a_term_that_rests_at_the_mean_of_its_target_has_the_wrong_examples() -> None:
    found = wrong_tensor_distilled(PLAIN, None, None, None, None, levels(NOTHING, MEAN, MEAN, MEAN))
    assert strongest(found) is Grade.INTERVENTIONAL


def test_a_map_that_an_optimizer_trains_need_not_fall_to_rest_at_the_mean() -> None:
    trained = {"loss": {"student": 4}, "feature_loss": {"student": 2, "other": 2}, "not_in_optimizer": []}
    facts = observations_from({"graph": trained, "parameters_not_in_optimizer": []})
    resting = levels(1.05 * MEAN, MEAN, MEAN, MEAN)
    resting = replace(resting, levels=tuple(replace(level, nothing=resting.first) for level in resting.levels))
    assert without_the_example(resting) is None
    assert strongest(wrong_tensor_distilled(PLAIN, None, None, None, None, resting, facts)) is Grade.INTERVENTIONAL


def test_a_map_that_stood_still_and_that_the_student_followed_never_learnt() -> None:
    fixed = {"loss": {"student": 4}, "feature_loss": {"student": 2, "other": 0}, "not_in_optimizer": []}
    facts = observations_from({"graph": fixed, "parameters_not_in_optimizer": []})
    followed = levels(NOTHING, 0.75 * MEAN, 0.72 * MEAN, 0.72 * MEAN)
    found = projector_not_trained(facts, followed)
    assert strongest(found) is Grade.STATISTICAL
    # As good as a map that is fitted afterwards, or what the units leave one by one.
    fitted = projector_not_trained(facts, levels(NOTHING, 0.3, 0.15, 0.15))
    assert isinstance(fitted, Finding)
    assert not fitted.supporting
    beside = replace(followed, levels=tuple(replace(level, beside=followed.last) for level in followed.levels))
    found = projector_not_trained(facts, beside)
    assert isinstance(found, Finding)
    assert not found.supporting


def test_units_in_their_places_have_no_map_between_them() -> None:
    fixed = {"loss": {"student": 4}, "feature_loss": {"student": 2, "other": 0}, "not_in_optimizer": []}
    facts = observations_from({"graph": fixed, "parameters_not_in_optimizer": []})
    followed = levels(NOTHING, 0.75 * MEAN, 0.72 * MEAN, 0.72 * MEAN)
    own = unit_order({"last": TEACHER}, {"hidden": STUDENT})
    assert own is not None
    assert not units_in_order(own)
    found = projector_not_trained(facts, followed, order=own)
    assert isinstance(found, Finding)
    assert found.supporting
    resized = unit_order({"last": TEACHER}, {"hidden": TEACHER[:, :12] + 0.3 * STUDENT})
    assert units_in_order(resized)
    found = projector_not_trained(facts, followed, order=resized)
    assert isinstance(found, Finding)
    assert not found.supporting
    # Layers of one width may have been taken from the teacher itself.
    same = unit_order({"last": TEACHER}, {"hidden": TEACHER + 0.1})
    assert not units_in_order(same)


def test_where_no_map_learns_none_has_learnt_the_mean() -> None:
    none_learns = observations_from({"graph": {"feature_loss": {"student": 2, "teacher": 0, "other": 0}}})
    found = wrong_tensor_distilled(PLAIN, None, None, None, None, levels(NOTHING, MEAN, MEAN, MEAN), none_learns)
    assert isinstance(found, NotExamined)


def test_a_projector_that_learns_is_sound() -> None:
    fitted = levels(NOTHING, 0.4, 0.2, 0.2)
    assert without_the_example(fitted) is None
    assert above_any_map(fitted) is None


def test_a_term_on_its_way_through_the_mean_is_no_sign() -> None:
    assert without_the_example(levels(NOTHING, 1.6 * MEAN, 1.2 * MEAN, MEAN)) is None


def test_a_student_whose_features_say_nothing_of_the_teachers_rests_there_too() -> None:
    strange = {"hidden": np.random.default_rng(5).normal(size=(256, 12))}
    term = np.repeat([NOTHING, MEAN, MEAN, MEAN], 6)
    found = feature_levels(term, [], {"last": TEACHER}, strange)
    assert found is not None
    assert without_the_example(found) is None


def test_a_term_that_stays_above_the_mean_has_no_projector_that_learns() -> None:
    resting = levels(NOTHING, 0.95 * NOTHING, 0.95 * NOTHING, 0.95 * NOTHING)
    found = projector_not_trained(observations_from({}), resting)
    assert strongest(found) is Grade.INTERVENTIONAL
    frozen = {"loss": {"student": 4}, "feature_loss": {"student": 2, "other": 0}, "not_in_optimizer": []}
    by_graph = projector_not_trained(observations_from({"graph": frozen, "parameters_not_in_optimizer": []}), resting)
    assert strongest(by_graph) is Grade.INTERVENTIONAL


def test_a_projector_that_an_optimizer_holds_may_stand_still_all_the_same() -> None:
    held = {"loss": {"student": 4}, "feature_loss": {"student": 2, "other": 2}, "not_in_optimizer": []}
    facts = observations_from({"graph": held, "parameters_not_in_optimizer": []})
    resting = levels(NOTHING, 0.95 * NOTHING, 0.95 * NOTHING, 0.95 * NOTHING)
    assert strongest(projector_not_trained(facts, resting)) is Grade.INTERVENTIONAL
    fell = projector_not_trained(facts, levels(1.3 * NOTHING, NOTHING, NOTHING, NOTHING))
    assert isinstance(fell, Finding)
    assert not fell.supporting  # the target may be a layer that was not recorded
    sound = projector_not_trained(facts, levels(NOTHING, 0.4, 0.2, 0.2))
    assert isinstance(sound, Finding)
    assert not sound.supporting


def test_a_target_of_one_example_rests_at_the_mean_however_restless_it_is() -> None:
    # Early and late medians differ by more than a term at rest allows, and by less than its own noise.
    swings = 0.3 * np.array([1, -1, 1, -1, 1, -1])
    term = np.concatenate([[2 * NOTHING] + [MEAN] * 5, 1.2 * MEAN + swings, np.full(6, MEAN), MEAN + swings])
    found = feature_levels(term, [], {"last": TEACHER}, {"hidden": STUDENT})
    assert found is not None
    assert found.noise > 0
    assert without_the_example(found) is not None
    assert without_the_example(replace(found, noise=0.0)) is None


def test_a_run_that_learnt_nothing_at_all_does_not_blame_its_projector() -> None:
    found = projector_not_trained(observations_from({}), levels(NOTHING, NOTHING, NOTHING, NOTHING, rest=0.95))
    assert isinstance(found, NotExamined)


def test_units_that_are_compared_one_by_one_have_no_projector() -> None:
    resting = levels(NOTHING, NOTHING, NOTHING, NOTHING)
    plain = replace(resting.levels[0], beside=resting.last, nothing=resting.first)
    assert above_any_map(replace(resting, levels=(plain, resting.levels[1]))) is None


def test_short_or_empty_records_say_nothing() -> None:
    layers = {"last": TEACHER}, {"hidden": STUDENT}
    assert feature_levels(np.ones(4), [], *layers) is None
    assert feature_levels(np.zeros(24), [], *layers) is None
    assert feature_levels(np.ones(24), [], {}, {}) is None
    assert feature_levels(np.ones(24), [], {"last": TEACHER[:8]}, {"hidden": STUDENT[:8]}) is None
