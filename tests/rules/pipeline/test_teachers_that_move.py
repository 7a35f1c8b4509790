"""Teachers that change while they teach, whoever changes them, and those that follow the student."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.engine.weighing import weigh
from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.sameness import Sameness, skill_at_least
from kddoctor.probes.student_path import StudentPath, StudentPathProbe
from kddoctor.probes.teacher_spread import TeacherSpreadProbe
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.rules.finding import Finding, Grade
from kddoctor.rules.pipeline.first_step import better_at_first
from kddoctor.rules.pipeline.teacher_equals_student import teacher_equals_student
from kddoctor.rules.pipeline.teacher_not_frozen import teacher_not_frozen
from kddoctor.rules.pipeline.teacher_preprocessing_mismatch import teacher_preprocessing_mismatch
from kddoctor.rules.pipeline.teacher_weights_not_loaded import teacher_weights_not_loaded
from kddoctor.rules.registry import all_rules
from kddoctor.run.observations import observations_from
from tests.rules.judging import diagnosed, strongest


def test_a_teacher_that_moved_in_evaluation_mode_was_moved_by_the_loop(tmp_path) -> None:
    facts = {"teacher_drift": 0.5, "teacher_requires_grad": False, "teacher_training": False}
    assert strongest(teacher_not_frozen(observations_from(facts))) is Grade.PROOF
    found = diagnosed(tmp_path, observations=facts)
    assert (found.verdict, found.cause_codes) == ("sick", ["KD104"])


def test_where_nobody_noted_its_mode_the_drift_may_be_that_of_its_statistics() -> None:
    found = teacher_not_frozen(observations_from({"teacher_drift": 0.5, "teacher_requires_grad": False}))
    assert strongest(found) is Grade.INTERVENTIONAL


def on_the_way(right: list[float], rows: int = 32, scale: float = 5.0) -> StudentPath:
    """Recorded steps of a teacher that has these shares of its rows right, with logits of this size."""
    rng = np.random.default_rng(0)
    probe = StudentPathProbe(10, 2.0)
    for step, share in enumerate(right):
        labels = rng.permutation(np.arange(rows) % 10)
        said = np.where(np.arange(rows) < share * rows, labels, (labels + 1) % 10)
        probe.update(step * 25, np.zeros((rows, 10)), scale * np.eye(10)[said], labels)
    found = probe.compute()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("right", "ends", "named"),
    [
        ([1.0, 0.4, 0.1, 0.2, 0.5, 0.7], 0.4, True),
        ([0.9, 0.9, 0.8, 0.9, 0.9, 0.9], 0.85, False),
        ([1.0, 0.95, 0.9, 0.8, 0.7, 0.6], 0.8, False),
        ([1.0, 1.0, 1.0, 0.9, 1.0, 1.0], 0.5, False),
    ],
    ids=["forgets and learns again", "stays", "easy rows first", "knows its rows by heart"],
)
def test_where_nobody_compared_weights_the_answers_of_the_first_step_tell_of_a_teacher_that_learns(
    right: list[float], ends: float, named: bool
) -> None:
    views = TeacherViews(view(ends, "predictions/val"), None, None, False)
    found = teacher_not_frozen(observations_from({}), on_the_way(right), views)
    assert isinstance(found, Finding) == named
    known = teacher_not_frozen(observations_from({"teacher_drift": 0.0}), on_the_way(right), views)
    assert isinstance(known, Finding)
    assert not known.supporting


@pytest.mark.parametrize(("later", "named"), [(0.2, True), (3.0, True), (0.9, False)], ids=["less", "more", "the same"])
def test_where_nobody_compared_weights_logits_of_another_size_tell_of_a_teacher_that_learns(
    later: float, named: bool
) -> None:
    probe, rng = TeacherSpreadProbe(), np.random.default_rng(0)
    for step in range(8):
        probe.update(25 * step, (later if step else 1.0) * rng.normal(size=(32, 10)))
    found = teacher_not_frozen(observations_from({}), None, None, probe.compute())
    assert isinstance(found, Finding) == named
    known = teacher_not_frozen(observations_from({"teacher_drift": 0.0}), None, None, probe.compute())
    assert isinstance(known, Finding)
    assert not known.supporting


def test_gradients_that_reach_a_teacher_whose_weights_nobody_compared_are_half_of_the_story() -> None:
    reached = observations_from({"teacher_requires_grad": True})
    probe, rng = TeacherSpreadProbe(), np.random.default_rng(0)
    for step in range(8):
        probe.update(25 * step, (0.1 if step else 1.0) * rng.normal(size=(32, 10)))
    rule = all_rules()["KD104"]
    alone, both = (teacher_not_frozen(reached, None, None, spread) for spread in (None, probe.compute()))
    assert isinstance(alone, Finding)
    assert isinstance(both, Finding)
    assert weigh(rule, alone).confidence < 0.5 < weigh(rule, both).confidence


def test_a_teacher_that_was_right_at_first_has_no_badly_prepared_inputs_and_is_not_weak(tmp_path) -> None:
    views = TeacherViews(view(0.1, "predictions/val"), None, view(0.1, "steps"), False)
    seen = observations_from({"teacher_training": False, "same_inputs": False})
    for right, changed in (([1.0] + 5 * [0.2], True), (6 * [0.2], False)):
        found = teacher_preprocessing_mismatch(views, seen, None, path=on_the_way(right))
        assert ("student-path" in {item.probe for item in found.opposing}) is changed
    assert better_at_first(on_the_way([1.0] + 5 * [0.2]), view(0.1, "predictions/val"))
    assert not better_at_first(on_the_way(6 * [0.2]), view(0.1, "predictions/val"))
    assert not better_at_first(None, view(0.1, "predictions/val"))


def view(told_apart: float, source: str, *, names: int = 0) -> TeacherView:
    """A teacher that answers the first class but for this share of the rows, by names that are so many classes off."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    said = np.where(rng.random(2000) < told_apart, (labels + names) % 10, 0)
    probe = TeacherValidityProbe(10)
    probe.update(0.1 * np.eye(10)[said], labels)
    return TeacherView(source, source == "steps", probe.compute(), False, None)


def test_a_teacher_that_was_right_while_it_taught_had_its_weights() -> None:
    own = view(0.0, "predictions/val")
    at_random = teacher_weights_not_loaded(TeacherViews(own, None, view(0.0, "steps"), False), None, None)
    assert isinstance(at_random, Finding)
    assert at_random.supporting
    later = teacher_weights_not_loaded(TeacherViews(own, None, view(0.7, "steps"), False), None, None)
    assert isinstance(later, Finding)
    assert not later.supporting


def test_a_teacher_whose_labels_cost_less_than_a_fair_draw_has_learned_however_little() -> None:
    little = TeacherViews(view(0.05, "predictions/val", names=1), None, None, False)
    unsure, wrong = on_the_way([0.4] * 6, scale=1.5), on_the_way([0.1] * 6)
    for way, named in ((None, True), (wrong, True), (unsure, False)):
        found = teacher_weights_not_loaded(little, None, None, way)
        assert isinstance(found, Finding)
        assert (weigh(all_rules()["KD101"], found).confidence > 0.5) == named


@pytest.mark.parametrize(("names", "named"), [(0, False), (1, True)])
def test_a_teacher_that_calls_what_little_it_tells_apart_by_the_right_names_has_learned(
    names: int, named: bool
) -> None:
    little = TeacherViews(view(0.05, "predictions/val", names=names), None, None, False)
    found = teacher_weights_not_loaded(little, None, None, None)
    assert isinstance(found, Finding)
    assert (weigh(all_rules()["KD101"], found).confidence > 0.5) == named


@pytest.mark.parametrize(("skill", "drift", "sick"), [(0.0, 3.0, True), (0.8, 3.0, False), (0.0, 0.0, False)])
def test_a_teacher_that_knew_nothing_at_first_and_changed_is_the_student(
    skill: float, drift: float, sick: bool
) -> None:
    same = Sameness(24, largest=0.7, first=0.0, equal=3, first_skill=skill)
    found = teacher_equals_student(same, None, observations_from({"teacher_drift": drift}))
    assert bool(found.supporting) is sick


def test_skill_of_few_rows_is_what_no_accident_gives() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 32)
    assert skill_at_least(np.eye(10)[labels], labels) > 0.7
    assert skill_at_least(rng.normal(size=(32, 10)), labels) < 0.1
    assert skill_at_least(np.eye(10)[labels], np.full(32, -100)) == 0.0


def test_a_teacher_that_always_gives_one_answer_gains_nothing_by_a_new_name() -> None:
    labels = np.random.default_rng(0).random(1500) < 0.6
    probe = TeacherValidityProbe(2)
    probe.update(np.zeros((1500, 2)), labels.astype(np.int64))
    own = TeacherView("predictions/val", False, probe.compute(), False, 0.5)
    found = teacher_weights_not_loaded(TeacherViews(own, None, None, False), None, None)
    assert isinstance(found, Finding)
    assert found.supporting
    assert not found.opposing
