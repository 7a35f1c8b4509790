"""A teacher that learns, that is the student, that sees other inputs; a term and a projector that do nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kddoctor.probes.example_gaps import ExampleGapsProbe
from kddoctor.probes.loss_mistakes import LossMistakes
from kddoctor.probes.measurements import Gaps, TeacherView, TeacherViews
from kddoctor.probes.row_pairing import pair_outputs
from kddoctor.probes.sameness import Sameness, sameness_of
from kddoctor.probes.shifted_rows import shifted_rows
from kddoctor.probes.stored_student import StoredStudent
from kddoctor.probes.targets_again import TargetsAgain, targets_again
from kddoctor.probes.targets_in_loop import TargetsInLoop, TargetsInLoopProbe
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.probes.term_gradients import TermGradients, term_gradients_of
from kddoctor.rules.finding import Finding, Grade, NotExamined
from kddoctor.rules.optimisation.student_partly_frozen import student_partly_frozen
from kddoctor.rules.pipeline.label_order_mismatch import label_order_mismatch
from kddoctor.rules.pipeline.projector_not_trained import projector_not_trained
from kddoctor.rules.pipeline.student_branch_detached import student_branch_detached
from kddoctor.rules.pipeline.teacher_equals_student import teacher_equals_student
from kddoctor.rules.pipeline.teacher_inputs import inputs_alike
from kddoctor.rules.pipeline.teacher_not_frozen import teacher_not_frozen
from kddoctor.rules.pipeline.teacher_preprocessing_mismatch import teacher_preprocessing_mismatch
from kddoctor.rules.pipeline.teacher_rows_misaligned import teacher_rows_misaligned
from kddoctor.rules.pipeline.teacher_view_mismatch import teacher_view_mismatch
from kddoctor.rules.pipeline.wrong_tensor_distilled import wrong_tensor_distilled
from kddoctor.rules.registry import all_rules
from kddoctor.run.manifest import Manifest, manifest_from
from kddoctor.run.observations import Observations, observations_from
from tests import builders as b
from tests.forensics import losses
from tests.forensics.asking import fed
from tests.forensics.test_forms import recorded as recorded_steps
from tests.rules.judging import diagnosed, strongest

PLAIN = {"task": "multiclass", "num_classes": 10, "distillation": {"loss": "kl", "temperature": 4.0, "alpha": 0.9}}


def seen(**facts: object) -> Observations:
    return observations_from(facts)


def declared() -> Manifest:
    return manifest_from(PLAIN)


# KD104 ----------------------------------------------------------------------------------------------------------------


def test_a_teacher_that_moved_and_had_gradients_is_proven_to_have_learned() -> None:
    assert strongest(teacher_not_frozen(seen(teacher_drift=0.2, teacher_requires_grad=True))) is Grade.PROOF


def test_a_teacher_at_rest_rules_it_out_even_where_gradients_were_computed() -> None:
    found = teacher_not_frozen(seen(teacher_drift=0.0, teacher_requires_grad=True))
    assert isinstance(found, Finding)
    assert not found.supporting
    assert found.severity == "note"


def test_statistics_of_a_teacher_in_training_mode_are_no_learning() -> None:
    found = teacher_not_frozen(seen(teacher_drift=0.3, teacher_requires_grad=False, teacher_training=True))
    assert isinstance(found, Finding)
    assert not found.supporting


def test_without_a_look_at_the_teacher_nothing_is_said() -> None:
    assert isinstance(teacher_not_frozen(seen()), NotExamined)


def test_a_teacher_that_learned_is_the_first_cause(tmp_path) -> None:
    found = diagnosed(tmp_path, observations={"teacher_drift": 0.2, "teacher_requires_grad": True})
    assert (found.verdict, found.cause_codes) == ("sick", ["KD104"])


# KD109 ----------------------------------------------------------------------------------------------------------------


def test_equal_logits_at_every_step_prove_one_model() -> None:
    z = np.random.default_rng(0).normal(size=(8, 5))
    same = sameness_of([(z, z), (2 * z, 2 * z)])
    assert same == Sameness(2, 0.0, 0.0, equal=2)
    assert strongest(teacher_equals_student(same)) is Grade.PROOF


def test_a_student_that_starts_as_a_copy_is_not_its_teacher() -> None:
    z = np.random.default_rng(0).normal(size=(8, 5))
    same = sameness_of([(z, z), (z, z + 1)])
    assert same is not None
    assert same.first == 0
    assert not teacher_equals_student(same).supporting


@pytest.mark.parametrize(
    ("skill", "drift", "own", "named"),
    [(0.0, 0.0, 0.9, True), (0.7, 0.0, 0.9, False), (0.0, 0.5, 0.9, False), (0.0, 0.0, 0.1, False)],
    ids=["its first weights", "a trained start", "a teacher that follows", "a teacher that is the copy"],
)
def test_targets_of_the_students_first_weights_are_of_a_wrong_source(skill, drift, own, named) -> None:
    same, facts = Sameness(20, 3.0, 0.0, equal=1, first_skill=skill), seen(teacher_drift=drift)
    no_mistake = LossMistakes(12, 1e-4, True, (), None, 1.0, 0.5, False)
    loss = fed(recorded_steps(losses.kl(), (0.1, 0.9))).compute()
    measured = {type(m): m for m in (no_mistake, loss, declared(), facts, same, views(own))}
    wrong_source = all_rules()["KD209"](measured)
    assert isinstance(wrong_source, Finding)
    assert bool(wrong_source.supporting) is named
    one_model = teacher_equals_student(same, views(own), facts)
    assert any(item.text.startswith("the targets are the logits of") for item in one_model.opposing) is named


# KD111 ----------------------------------------------------------------------------------------------------------------


def gradients(kd: float | None, ce: float | None = 0.1, residual: float = 1e-7) -> TermGradients:
    return TermGradients(steps=8, kd_weight=kd, ce_weight=ce, residual=residual, kd_reaches=kd != 0)


def test_a_total_whose_gradient_is_the_labels_alone_proves_a_detached_term() -> None:
    assert strongest(student_branch_detached(declared(), gradients(0.0), None, None)) is Grade.PROOF


def test_a_term_with_its_weight_in_the_gradient_rules_it_out() -> None:
    found = student_branch_detached(declared(), gradients(0.9), None, None)
    assert isinstance(found, Finding)
    assert not found.supporting
    assert found.opposing[0].grade is Grade.PROOF


def test_a_term_that_was_only_logged_without_its_graph_says_nothing() -> None:
    # The total holds more than the labels' gradient, whoever owns the rest.
    found = student_branch_detached(declared(), gradients(0.0, residual=0.4), None, None)
    assert isinstance(found, Finding)
    assert not found.evidence


def test_weights_of_gradients_are_medians_over_the_steps_that_were_seen() -> None:
    nan = float("nan")
    found = term_gradients_of(
        kd_weight=np.array([0.9, nan, 0.9]),
        ce_weight=np.array([0.1, nan, 0.1]),
        residual=np.array([1e-7, nan, 2e-7]),
        kd_norm=np.array([0.4, nan, 0.2]),
        total_norm=np.array([0.4, nan, 0.2]),
    )
    assert found == TermGradients(steps=2, kd_weight=0.9, ce_weight=0.1, residual=2e-7, kd_reaches=True)


# KD112 ----------------------------------------------------------------------------------------------------------------

HINT = {"loss": {"student": 4, "other": 2}, "feature_loss": {"student": 2, "other": 2, "in_total": True}}


def test_a_projector_in_no_optimizer_is_proven_idle() -> None:
    graph = {**HINT, "not_in_optimizer": [[32, 20], [32]], "trained_elsewhere": False}
    assert strongest(projector_not_trained(seen(graph=graph, parameters_not_in_optimizer=[]))) is Grade.PROOF


@pytest.mark.parametrize(
    "graph", [{"not_in_optimizer": []}, {"not_in_optimizer": [[32, 20]], "trained_elsewhere": True}]
)
def test_a_projector_that_somebody_trains_rules_it_out(graph: dict[str, object]) -> None:
    found = projector_not_trained(seen(graph={**HINT, **graph}, parameters_not_in_optimizer=[]))
    assert isinstance(found, Finding)
    assert not found.supporting
    assert found.opposing


STUDENT = StoredStudent(("body.0.weight", "head.weight", "extra.weight"), 100, 100)


@pytest.mark.parametrize(
    ("name", "stored", "layers", "code"),
    [
        ("projector.0.weight", STUDENT, True, "KD112"),
        ("projector.0.weight", None, True, "KD112"),
        ("map_to_teacher.weight", STUDENT, True, "KD112"),
        ("module.body.0.weight", STUDENT, True, "KD506"),
        ("layers.0.q_proj.weight", None, True, "KD506"),
        # Without a feature term there is nothing to project.
        ("projector.0.weight", STUDENT, False, "KD506"),
    ],
)
def test_whose_parameters_no_optimizer_holds_is_told_by_their_names(name, stored, layers, code) -> None:
    facts = seen(parameters_not_in_optimizer=[name], parameters_without_gradient=[])
    config = manifest_from(
        {"task": "multiclass", "num_classes": 3, "distillation": {"feature_layers": [["a", "b"]] if layers else []}}
    )
    found = {
        "KD112": projector_not_trained(facts, None, config, stored),
        "KD506": student_partly_frozen(facts, None, None, config, None, stored),
    }
    assert [c for c, finding in found.items() if isinstance(finding, Finding) and finding.supporting] == [code]


def test_a_single_number_outside_the_optimizer_is_no_projector() -> None:
    found = projector_not_trained(seen(graph={**HINT, "not_in_optimizer": [[]]}, parameters_not_in_optimizer=[]))
    assert isinstance(found, Finding)
    assert not found.supporting


# KD101 ----------------------------------------------------------------------------------------------------------------


def test_first_weights_that_tell_two_classes_apart_by_accident_are_no_weak_teacher(tmp_path) -> None:
    def first_weights(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        unlike = b.untrained(logits, labels)
        unlike[labels < 2, 0] += 0.5
        return unlike

    found = diagnosed(tmp_path, rows=2000, teacher=first_weights, baseline=b.unchanged)
    assert found.cause_codes[0] == "KD101"


# KD107, KD108, KD113 --------------------------------------------------------------------------------------------------


def loop(student: tuple[float, float], teacher: tuple[float, float]) -> dict[str, object]:
    return {
        f"loop_{role}": {"rows": 64, "mean": mean, "std": std, "shape": [1, 8, 8]}
        for role, (mean, std) in (("student", student), ("teacher", teacher))
    }


def test_two_random_views_of_one_pipeline_are_another_view(tmp_path) -> None:
    inputs = loop((0.3, 0.37), (0.301, 0.371))
    found = diagnosed(tmp_path, observations={"same_inputs": False, "teacher_training": False, "inputs": inputs})
    assert found.cause_codes == ["KD107"]


def test_inputs_prepared_for_a_teacher_that_does_well_with_them_are_sound(tmp_path) -> None:
    inputs = loop((0.3, 0.37), (0.0, 1.0))
    found = diagnosed(tmp_path, observations={"same_inputs": False, "teacher_training": False, "inputs": inputs})
    assert found.verdict != "sick"


def test_a_teacher_that_is_worse_on_differently_prepared_inputs_has_the_wrong_preprocessing(tmp_path) -> None:
    worse = b.forgetting(0.4)
    found = diagnosed(
        tmp_path,
        in_loop=worse,
        check=worse,
        observations={"same_inputs": False, "teacher_training": False, "inputs": loop((0.3, 0.37), (0.1, 0.12))},
    )
    assert found.cause_codes[0] == "KD108"


def test_a_tensor_without_relation_to_the_logits_is_the_wrong_one(tmp_path) -> None:
    def features(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.random.default_rng(3).normal(size=logits.shape).astype(np.float32)

    found = diagnosed(tmp_path, in_loop=features, observations={"same_inputs": True, "teacher_training": False})
    assert found.cause_codes[0] == "KD113"


def test_inputs_that_were_not_recorded_are_neither_alike_nor_different() -> None:
    assert inputs_alike(None) is None
    assert inputs_alike(seen()) is None


def test_targets_are_compared_about_the_mean_of_each_class() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(200, 4)) + np.array([3.0, 0, 0, 0])
    probe = TargetsInLoopProbe()
    probe.update(own[::-1], own, np.zeros(200, np.int64))
    found = probe.compute()
    assert found is not None
    # All rows prefer the first class, so that outputs of other rows resemble each other; about its mean they do not.
    assert found.correlation > 0.5
    assert abs(found.changed_correlation) < 0.2


def test_the_same_example_in_another_epoch_is_no_stray() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 20)
    own = rng.normal(size=(200, 10))
    used = own.copy()
    # Rows 0 and 1 are one example, seen through two views: the target of the one is the output of the other.
    pairs = np.arange(0, 200, 2)
    used[pairs] = own[pairs + 1]
    assert pair_outputs(used, own)[1] == 0.5
    assert pair_outputs(used, own, labels)[1] == 0.0
    others = own[rng.permutation(200)]
    assert pair_outputs(others, own, labels)[1] == pytest.approx(1.0, abs=0.1)


# What each model is given ---------------------------------------------------------------------------------------------


def places(student: tuple[float, float], teacher: tuple[float, float]) -> dict[str, object]:
    return loop(student, teacher) | {"train": {"mean": 0.3, "std": 0.37, "shape": [1, 8, 8]}}


def test_a_view_that_only_the_student_got_is_another_view(tmp_path) -> None:
    inputs = places((0.3, 0.32), (0.3, 0.37))
    found = diagnosed(tmp_path, observations={"same_inputs": False, "teacher_training": False, "inputs": inputs})
    assert found.cause_codes == ["KD107"]


def test_rows_in_another_arrangement_are_badly_prepared(tmp_path) -> None:
    worse = b.forgetting(0.4)
    facts = {
        "same_inputs": False,
        "teacher_training": False,
        "inputs": places((0.3, 0.37), (0.3, 0.37)),
        "augmented_views": {"random": False},
    }
    found = diagnosed(tmp_path, in_loop=worse, check=worse, observations=facts)
    assert found.cause_codes[0] == "KD108"


def test_a_teacher_that_fails_on_tensors_of_its_own_is_badly_prepared_whatever_they_are(tmp_path) -> None:
    worse = b.forgetting(0.6)
    facts = {"same_inputs": False, "teacher_training": False}
    assert diagnosed(tmp_path, in_loop=worse, check=worse, observations=facts).cause_codes[0] == "KD108"


@pytest.mark.parametrize(("same_inputs", "code"), [(False, "KD108"), (None, "KD101")])
def test_a_teacher_at_chance_that_is_sure_of_itself_was_trained_and_is_given_something_else(
    tmp_path, same_inputs: bool | None, code: str
) -> None:
    def of_two_classes(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        said = np.where(logits[:, 1] > np.median(logits[:, 1]), 3, 7)
        return logits * 0.3 + 12 * np.eye(logits.shape[1], dtype=np.float32)[said]

    facts = {"same_inputs": same_inputs, "teacher_training": False}
    found = diagnosed(tmp_path, teacher=of_two_classes, observations=facts)
    assert found.cause_codes[0] == code


def test_tensors_of_its_own_that_a_teacher_does_well_with_are_sound(tmp_path) -> None:
    assert diagnosed(tmp_path, observations={"same_inputs": False, "teacher_training": False}).verdict != "sick"


def test_a_teacher_whose_views_are_drawn_anew_has_no_fixed_preparation(tmp_path) -> None:
    facts = seen(same_inputs=False, teacher_drift=0.0, teacher_training=False, inputs=places((0.3, 0.37), (0.3, 0.9)))
    passes = TeacherPasses(300, 0.0, 1.0, 1.0, False, 0.0, first_difference=0.0)
    targets = TargetsInLoop(300, 0.0, 1.0, float("nan"), 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    anew, same = TargetsAgain(300, 0.0), TargetsAgain(300, 1.0)
    assert strongest(teacher_view_mismatch(targets, passes, None, facts, anew)) is Grade.INTERVENTIONAL
    assert not teacher_view_mismatch(targets, passes, None, facts, same).supporting
    assert not teacher_preprocessing_mismatch(views(0.4, 0.9), facts, None, None, passes, anew).supporting
    assert strongest(teacher_preprocessing_mismatch(views(0.4, 0.9), facts, None, None, passes, same))


@pytest.mark.parametrize(("task", "named"), [("multiclass", True), ("tokens", False)])
def test_the_same_ids_in_another_order_are_another_text_and_no_preparation(task: str, named: bool) -> None:
    inputs = places((0.3, 0.37), (0.3, 0.37))
    facts = seen(same_inputs=False, teacher_training=False, inputs=inputs, augmented_views={"random": False})
    config = manifest_from({"task": task, "num_classes": 10})
    found = teacher_preprocessing_mismatch(views(0.4, 0.9), facts, None, config=config)
    assert isinstance(found, Finding)
    assert bool(found.supporting) is named


@pytest.mark.parametrize(
    ("sure_in_the_loop", "found_again", "named"),
    [(0.9, 0.0, True), (0.6, 0.0, False), (0.6, 1.0, True)],
    ids=["other rows", "views", "the same each time"],
)
def test_views_that_blur_a_teacher_to_chance_are_no_other_rows(sure_in_the_loop, found_again, named) -> None:
    def sure(of: TeacherView, share: float) -> TeacherView:
        plain = replace(of.validity, top1_mean=share, entropy_ratio_median=0.1)
        return replace(of, validity=plain)

    chance, own = sure(view(0.1), sure_in_the_loop), sure(view(0.9), 0.92)
    teacher = TeacherViews(own, own, replace(chance, in_loop=True), False)
    facts = seen(same_inputs=False, teacher_drift=0.0, teacher_training=False)
    found = teacher_rows_misaligned(teacher, None, None, None, None, facts, TargetsAgain(300, found_again))
    assert bool(found.supporting) is named
    assert bool(found.opposing) is not named


def test_targets_come_again_or_do_not() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 10))
    late = first[rng.integers(0, 200, 500)]
    assert targets_again(late, first) == TargetsAgain(500, 1.0)
    assert targets_again(late + 0.1 * rng.normal(size=late.shape), first) == TargetsAgain(500, 0.0)
    assert targets_again(late[:8], first) is None


def test_an_offset_on_one_score_leaves_it_the_right_tensor(tmp_path) -> None:
    passes = TeacherPasses(300, 0.4, 0.5, 0.2, False, 1.0, first_difference=0.4)
    targets = TargetsInLoop(300, 1.0, -0.2, 0.5, 0.5, 0.5, 0.5, 0.6, 0.9, 0.0)
    assert not wrong_tensor_distilled(declared(), targets, passes, None, None).supporting
    assert wrong_tensor_distilled(declared(), replace(targets, changed_correlation=0.1), passes, None, None).supporting


def test_outputs_kept_from_the_first_epoch_are_of_another_view() -> None:
    passes = TeacherPasses(300, 0.4, 0.8, 0.7, False, 1.0, first_difference=0.0)
    targets = TargetsInLoop(300, 0.8, 0.7, 0.65, 0.7, 0.7, 0.7, 0.2, 0.5, 0.0)
    assert strongest(teacher_view_mismatch(targets, passes, None, seen())) is Grade.INTERVENTIONAL
    noisy = replace(passes, first_difference=0.4)
    assert not teacher_view_mismatch(targets, noisy, None, seen()).supporting


def test_a_teacher_at_chance_that_the_student_began_as_is_a_copy(tmp_path) -> None:
    z = np.random.default_rng(0).normal(size=(8, 5))
    same = sameness_of([(z, z), (z, z + 1)])
    assert same is not None
    # Of a teacher that is good, a copy is an ordinary start.
    assert not teacher_equals_student(same, views(0.9)).supporting
    assert strongest(teacher_equals_student(same, views(0.1))) is Grade.PROOF


def test_a_trained_teacher_that_the_student_began_as_teaches_nothing() -> None:
    z = np.random.default_rng(0).normal(size=(8, 5))
    same = sameness_of([(z, z), (z, z + 1)])
    assert same is not None
    assert strongest(teacher_equals_student(same, views(0.9), None, outcome(0.9, 0.9))) is Grade.PROOF
    # Who became better than both its start and labels alone had a use for it.
    assert not teacher_equals_student(same, views(0.7), None, outcome(0.7, 0.9)).supporting


def outcome(teacher: float, student: float) -> Gaps:
    """A teacher and a student that are right so often, on the same rows first."""
    labels = np.arange(1000) % 10
    said = [
        np.eye(10)[np.where(np.arange(1000) < 1000 * share, labels, (labels + 1) % 10)] for share in (teacher, student)
    ]
    probe = ExampleGapsProbe(10)
    probe.update(said[0], said[1], labels)
    return Gaps("val", probe.compute(), None)


def views(accuracy: float, own: float | None = None) -> TeacherViews:
    """A teacher that is right so often; own: on rows of its own, and that often in the loop."""
    if own is None:
        return TeacherViews(view(accuracy), None, None, False)
    return TeacherViews(view(own), view(own), view(accuracy), False)


def view(accuracy: float, columns: list[int] | None = None) -> TeacherView:
    """A teacher that is right so often, and otherwise wrong at random; columns: in another order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    said = np.where(rng.random(2000) < accuracy, labels, (labels + rng.integers(1, 10, 2000)) % 10)
    probe = TeacherValidityProbe(10)
    probe.update(np.eye(10)[said][:, columns or list(range(10))], labels)
    return TeacherView("val", columns is not None, probe.compute(), False, None)


@pytest.mark.parametrize("accuracy", [0.95, 0.6, 0.45])
def test_classes_that_moved_are_found_whatever_the_teacher_is_worth(accuracy: float) -> None:
    three = [0, 1, 2, 3, 4, 5, 6, 8, 9, 7]
    found = label_order_mismatch(TeacherViews(view(accuracy), None, view(accuracy, three), False))
    assert strongest(found) is Grade.INTERVENTIONAL
    in_order = label_order_mismatch(TeacherViews(view(accuracy), None, view(accuracy, list(range(10))), False))
    assert not in_order.supporting


@pytest.mark.parametrize(("sureness", "named"), [(1.0, True), (0.15, False)], ids=["trained", "a new head"])
def test_a_permutation_makes_a_teacher_of_a_hard_task_as_right_as_it_is_sure(sureness: float, named: bool) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(3000, 30))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(30, p=share) for share in shares])
    probe = TeacherValidityProbe(30)
    probe.update(np.roll(sureness * logits, 7, axis=1), labels)
    found = probe.compute()
    assert found.accuracy < 0.1
    assert 0.25 < (found.accuracy_elsewhere or 0.0) < 0.4
    views = TeacherViews(TeacherView("val", False, found, False, None), None, None, False)
    assert bool(label_order_mismatch(views).supporting) is named


def test_labels_that_are_wrong_by_a_rule_in_half_of_the_rows_are_no_exchanged_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 4000)
    # The last class first: nearly always in two classes, and in a third of the rows of the others.
    turned = rng.random(4000) < np.where((labels == 4) | (labels == 5), 0.95, 0.35)
    probe = TeacherValidityProbe(10)
    probe.update(np.eye(10)[np.where(turned, 9 - labels, labels)], labels)
    by_rule = TeacherView("val", False, probe.compute(), False, None)
    assert not label_order_mismatch(TeacherViews(by_rule, None, None, False)).supporting
    swapped = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9]
    assert label_order_mismatch(TeacherViews(view(0.9, swapped), None, None, False)).supporting


def test_probabilities_that_a_service_rounded_still_sum_to_one(tmp_path) -> None:
    def rounded(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.round(b.probabilities(logits, labels).astype(np.float64), 3).astype(np.float32)

    assert diagnosed(tmp_path, teacher=rounded, classes=100, rows=1000).cause_codes[0] == "KD205"


@pytest.mark.parametrize(("batch", "named"), [(4, False), (24, True)], ids=["few rows", "enough"])
def test_skill_that_few_rows_of_the_loop_lack_is_lost_by_chance(tmp_path, batch: int, named: bool) -> None:
    worse = b.forgetting(0.5)
    facts = {"same_inputs": False, "teacher_training": False}
    steps = 12 if named else 1
    found = diagnosed(tmp_path, in_loop=worse, check=worse, steps=steps, batch=batch, observations=facts)
    assert ("KD108" in found.cause_codes) is named


@pytest.mark.parametrize(("places", "named"), [(-1, True), (7, True), (0, False)])
def test_recorded_outputs_that_fit_after_one_shift_were_paired_with_the_wrong_rows(
    tmp_path, places: int, named: bool
) -> None:
    # Half of the rows right, and no steps: nothing but the shift tells them from those of a weak teacher.
    def moved(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.roll(b.forgetting(0.5)(logits, labels), places, axis=0)

    found = diagnosed(tmp_path, teacher=moved, steps=0, metrics=[])
    assert (found.cause_codes[:1] == ["KD106"]) is named


def test_a_shift_of_rows_that_come_class_by_class_in_turn_proves_nothing() -> None:
    labels = np.arange(900) % 10
    own = b.World().teacher(labels, 1)
    turned = own[:, np.roll(np.arange(10), 1)]
    views = TeacherViews(view_of(turned, labels), None, None, False)
    for rows, named in ((np.arange(900), False), (np.random.default_rng(0).permutation(900), True)):
        answers = turned if not named else np.roll(own[rows], 1, axis=0)
        found = teacher_rows_misaligned(views, None, None, shifted=shifted_rows(answers.argmax(1), labels[rows]))
        assert (Grade.PROOF in {item.grade for item in found.supporting}) is named


def test_a_teacher_of_a_hard_task_that_is_at_chance_in_the_loop_alone_was_paired_with_other_rows() -> None:
    labels = b.World().labels(1500, 1)
    weak = b.forgetting(0.6)(b.World().teacher(labels, 1), labels)
    inside = replace(view_of(np.roll(weak, 7, axis=0), labels), source="steps", in_loop=True)
    for own, named in ((view_of(weak, labels), True), (view_of(np.roll(weak, 3, axis=0), labels), False)):
        found = teacher_rows_misaligned(TeacherViews(own, None, inside, False), None, None)
        assert (Grade.INTERVENTIONAL in {item.grade for item in found.supporting}) is named


def test_a_forecast_of_what_was_true_a_moment_ago_is_paired_with_its_own_rows() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 1000)
    says_the_last = np.roll(labels, 1)
    views = TeacherViews(view_of(np.eye(10)[says_the_last], labels), None, None, False)
    for others, named in ((says_the_last, False), (labels, True), (None, True)):
        found = teacher_rows_misaligned(views, None, None, shifted=shifted_rows(says_the_last, labels, others))
        assert (Grade.PROOF in {item.grade for item in found.supporting}) is named


def view_of(logits: np.ndarray, labels: np.ndarray) -> TeacherView:
    probe = TeacherValidityProbe(10)
    probe.update(logits, labels)
    return TeacherView("predictions/val", False, probe.compute(), False)


def test_a_student_that_is_its_twin_to_the_last_digit_was_not_distilled(tmp_path) -> None:
    def forget(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return b.forgetting(0.3)(b.World().student(b.World().teacher(labels, 2), 2), labels)

    same = diagnosed(tmp_path / "same", student=forget, baseline=forget, steps=0, metrics=[])
    assert same.cause_codes[0] == "KD110"
    other = diagnosed(tmp_path / "other", student=forget, baseline=b.forgetting(0.3), steps=0, metrics=[])
    assert "KD110" not in other.cause_codes
    meant = {"loss": "none", "alpha": 0.0}
    alone = diagnosed(tmp_path / "alone", student=forget, baseline=forget, steps=0, metrics=[], declared=meant)
    assert "KD110" not in alone.cause_codes
