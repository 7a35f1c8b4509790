"""What became of the student after training is named, and told from choices that do no harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kddoctor.engine import diagnose
from kddoctor.engine.explaining import explain_away
from kddoctor.engine.measuring.deployment import _rows_of
from kddoctor.engine.weighing import weigh
from kddoctor.probes.answers_over_time import AnswersOverTime
from kddoctor.probes.deployment_measurements import EvaluatedStudent
from kddoctor.rules.deployment.ending import drop, other_weights
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from tests import builders as b
from tests.rules.splits import diagnosed, part

SAME = {"agreement": 1.0, "accuracy_then": 1.0, "accuracy_after": 1.0, "relative_difference": 0.0}
OTHER = {"agreement": 0.5, "accuracy_then": 1.0, "accuracy_after": 0.5, "relative_difference": 0.8}
FLOATS = {"parameter": "0.weight", "distinct": 5000, "elements": 5000}
FEW = {"parameter": "0.weight", "distinct": 7, "elements": 5000}


def after(
    path, lost: float, written: list[str], last: dict[str, float], values=None, change=None, logged=None, graph=None
) -> Any:
    """A run whose student lost this share of its right answers after the last evaluation of the loop."""
    sound, val = part(500, 2), part(500, 2, b.forgetting(lost))
    if change is not None:
        val["student_logits"] = change(val["student_logits"])
    accuracy = float((sound["student_logits"].argmax(1) == sound["labels"]).mean()) if logged is None else logged
    return diagnosed(
        path,
        part(500, 1),
        val,
        metrics=[{"epoch": e, "step": e, "split": "val", "student_accuracy": accuracy} for e in range(12)],
        observations={
            "parameters_changed_after_training": written,
            "last_step": last,
            "student_distinct_values": values or FLOATS,
            **({} if graph is None else {"graph": graph}),
        },
    )


def deployment(found) -> list[str]:
    return [code for code in found.cause_codes if code.startswith("KD7")]


def test_weights_that_were_overwritten_and_are_worse_are_another_checkpoint(tmp_path):
    assert deployment(after(tmp_path, 0.4, ["0.weight"], OTHER)) == ["KD701"]


GRAPH = {"loss": {"student": 4, "teacher": 0, "other": 0}}


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (["0.weight", "2.weight"], "KD703"),
        (["0.weight", "0.bias"], "KD701"),
        (["0.weight", "2.weight", "2.bias"], "KD701"),
    ],
    ids=["matrices alone", "one layer", "most of it"],
)
def test_matrices_that_were_rewritten_without_their_biases_are_an_export(tmp_path, written, named):
    assert deployment(after(tmp_path, 0.4, written, OTHER, graph=GRAPH)) == [named]


def test_matrices_that_were_rewritten_at_no_cost_are_no_fault(tmp_path):
    found = after(
        tmp_path, 0.0, ["0.weight", "2.weight"], {**OTHER, "agreement": 0.97, "accuracy_after": 0.97}, graph=GRAPH
    )
    assert deployment(found) == []


def test_a_best_checkpoint_that_is_as_good_is_a_choice(tmp_path):
    found = after(tmp_path, 0.0, ["0.weight"], {**OTHER, "agreement": 0.97, "accuracy_after": 0.97})
    assert deployment(found) == []
    assert "KD701" in found.ruled_out


def test_an_accuracy_of_other_rows_that_is_a_little_higher_proves_nothing(tmp_path):
    found = after(tmp_path, 0.0, ["0.weight"], {**OTHER, "agreement": 0.97, "accuracy_after": 0.97}, logged=0.9777)
    assert deployment(found) == []


def test_a_log_of_few_rows_is_as_uncertain_as_these():
    shares = [0.5525, 0.6575, 0.695, float(np.float32(0.7))]
    assert _rows_of(shares, 1500) == 400
    assert _rows_of([0.123432, 0.567811, 0.912343], 1500) == 1500


def test_untouched_weights_that_answer_otherwise_are_fed_otherwise(tmp_path):
    found = after(tmp_path, 0.4, [], OTHER)
    assert deployment(found) == ["KD702"]
    assert "KD701" in found.ruled_out


def marked(pixel: float, wrong: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Splits whose held-out inputs bear a mark of this size, on which both models are wrong for this share of rows."""
    train, val = part(400, 1), part(500, 2)
    val["inputs"][:, 10:] += pixel
    lost = np.random.default_rng(3).random(500) < wrong
    for name in ("teacher_logits", "student_logits"):
        val[name][lost] = np.roll(val[name][lost], 1, axis=1)
    return train, val


def test_held_out_inputs_with_a_mark_of_their_own_on_which_the_teacher_fails_went_another_way(tmp_path):
    assert deployment(diagnosed(tmp_path, *marked(8.0, 0.4))) == ["KD702"]


@pytest.mark.parametrize(("pixel", "wrong"), [(8.0, 0.0), (0.0, 0.4), (0.8, 0.4)])
def test_a_mark_that_costs_nothing_and_a_teacher_that_fails_on_unmarked_inputs_are_no_drift(tmp_path, pixel, wrong):
    found = diagnosed(tmp_path, *marked(pixel, wrong))
    assert "KD702" not in found.cause_codes


def test_a_student_with_dropout_answers_otherwise_and_as_well(tmp_path):
    assert deployment(after(tmp_path, 0.0, [], {**SAME, "agreement": 0.9, "relative_difference": 0.5})) == []


def test_an_accuracy_that_was_logged_of_another_model_is_no_drift(tmp_path):
    assert deployment(after(tmp_path, 0.1, [], SAME)) == []


def test_few_values_of_a_weight_and_a_loss_are_a_quantisation(tmp_path):
    assert deployment(after(tmp_path, 0.4, ["0.weight"], OTHER, FEW)) == ["KD703"]


def test_outputs_on_a_grid_and_a_loss_are_a_quantisation(tmp_path):
    found = after(tmp_path, 0.4, [], OTHER, change=lambda z: (np.round(z * 8).clip(-60, 60) / 8).astype(np.float32))
    assert deployment(found) == ["KD703"]


def test_a_quantisation_without_a_loss_is_no_fault(tmp_path):
    assert deployment(after(tmp_path, 0.0, ["0.weight"], SAME, FEW)) == []


def test_a_target_that_is_missed_by_a_sound_student_is_named_as_a_warning(tmp_path):
    found = diagnosed(
        tmp_path, part(500, 1, b.forgetting(0.1)), part(500, 2, b.forgetting(0.1)), targets={"retention": 1}
    )
    assert [(f.code, f.severity) for f in found.causes if f.code == "KD704"] == [("KD704", "warning")]


def test_a_target_that_is_met_is_none_missed(tmp_path):
    found = diagnosed(tmp_path, part(500, 1), part(500, 2), targets={"retention": 0.9})
    assert deployment(found) == []


def test_a_target_that_is_met_does_not_make_up_for_one_that_is_missed(tmp_path):
    wanted = {"retention": 0.5, "latency_ms": 1.0}
    for reached, missed in ((0.5, False), (4.0, True)):
        seen = {"latency_ms": {"teacher": 9.0, "student": reached}}
        found = diagnosed(tmp_path / str(reached), part(500, 1), part(500, 2), targets=wanted, observations=seen)
        assert ("KD704" in found.cause_codes) == missed


def _scores(rows: int, draw: int, moved: float, noise: float = 0.5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(draw)
    teacher = rng.normal(scale=2, size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-teacher))).astype(np.int64)
    student = teacher + moved + rng.normal(scale=noise, size=rows)
    return {
        "labels": labels,
        "teacher_logits": teacher.astype(np.float32),
        "student_logits": student.astype(np.float32),
    }


def test_scores_that_all_moved_are_a_moved_threshold(tmp_path):
    found = diagnosed(tmp_path, _scores(2000, 1, 2.5), _scores(2000, 2, 2.5), task="binary")
    assert found.cause_codes == ["KD705"]


@pytest.mark.parametrize("upstream", ["KD605", "KD308", "KD203"])
def test_a_moved_threshold_is_a_symptom_of_what_the_student_was_taught(upstream):
    both = [
        weigh(all_rules()[code], Finding().supported_by("p", "m", 1.0, "seen", weight=weight))
        for code, weight in (("KD705", 9.0), (upstream, 6.0))
    ]
    causes, symptoms = explain_away(both)
    assert ([h.rule.code for h in causes], [h.rule.code for h in symptoms]) == ([upstream], ["KD705"])


def test_centred_scores_have_their_threshold_in_place(tmp_path):
    found = diagnosed(tmp_path, _scores(2000, 1, 0), _scores(2000, 2, 0), task="binary")
    assert "KD705" in found.ruled_out


def test_scores_that_moved_and_rank_badly_are_another_fault(tmp_path):
    found = diagnosed(tmp_path, _scores(2000, 1, 2.5, 12), _scores(2000, 2, 2.5, 12), task="binary")
    assert "KD705" not in found.cause_codes


def recorded_by_hand(path, change, *, features=None, logged=True, train_change=None) -> Any:
    """A run with only what the contract lists, whose student is replaced by ``change`` after the last step.

    Its student goes from noise to what the splits hold, straight on.
    """
    train, val = part(400, 1), part(500, 2)
    rng = np.random.default_rng(5)
    first = {name: rng.normal(size=split["student_logits"].shape) for name, split in (("train", train), ("val", val))}

    def at(name: str, split: dict[str, np.ndarray], share: float) -> np.ndarray:
        return ((1 - share) * first[name] + share * split["student_logits"]).astype(np.float32)

    shares = np.linspace(0, 1, 20)
    rows = [rng.permutation(400)[:32] for _ in shares]
    steps = {
        "student_logits": np.stack([at("train", train, s)[r] for s, r in zip(shares, rows, strict=True)]),
        "teacher_logits": np.stack([train["teacher_logits"][r] for r in rows]),
        "labels": np.stack([train["labels"][r] for r in rows]),
        "loss": np.linspace(2, 0.1, 20),
    }
    accuracy = float((val["student_logits"].argmax(1) == val["labels"]).mean())
    for name, split in (("train", train), ("val", val)):
        split["student_logits"] = change(split["student_logits"], lambda share, n=name, p=dict(split): at(n, p, share))
    metrics = [{"epoch": e, "step": e, "split": "val", "student_accuracy": accuracy} for e in range(12)]
    more = {} if features is None else {"features": {"val": features(val)}}
    return diagnosed(path, train, val, steps=steps, metrics=metrics if logged else [], **more)


def test_by_hand_the_student_of_an_early_step_is_another_checkpoint(tmp_path):
    assert deployment(recorded_by_hand(tmp_path, lambda _, at: at(0.2))) == ["KD701"]


def test_by_hand_without_any_log_the_steps_tell(tmp_path):
    assert deployment(recorded_by_hand(tmp_path, lambda _, at: at(0.1), logged=False)) == ["KD701"]


def test_by_hand_a_class_whose_weights_are_lost_is_another_checkpoint(tmp_path):
    def lost(logits, _):
        logits = logits.copy()
        logits[:, :3] = 0
        return logits

    assert deployment(recorded_by_hand(tmp_path, lost)) == ["KD701"]


def test_by_hand_a_student_that_is_fed_otherwise_is_not_told_from_an_earlier_one_by_its_accuracy(tmp_path):
    def fed_otherwise(logits, _):
        rng = np.random.default_rng(6)
        return (logits + 1.5 * logits.std() * rng.normal(size=logits.shape)).astype(np.float32)

    assert deployment(recorded_by_hand(tmp_path, fed_otherwise)) == ["KD702"]


def test_by_hand_few_training_rows_do_not_speak_against_what_many_held_out_ones_lost(tmp_path):
    # Of the rows that were recorded some four in a hundred are lost, and as many are the noise of their number.
    def fed_otherwise(logits, _):
        rng = np.random.default_rng(6)
        return (logits + 0.8 * logits.std() * rng.normal(size=logits.shape)).astype(np.float32)

    assert deployment(recorded_by_hand(tmp_path, fed_otherwise)) == ["KD702"]


def teacher_for_student(path, *, steps: bool, copied: bool = True, learnt: bool = True) -> Any:
    """A run whose student is its teacher in the end; in the loop it was its own, or (learnt false) the same model."""
    train, val = part(400, 1), part(500, 2)
    rng = np.random.default_rng(5)
    rows = [rng.permutation(400)[:32] for _ in range(12)]
    of = "student_logits" if learnt else "teacher_logits"
    more: dict[str, Any] = {}
    if steps:
        more["steps"] = {
            "student_logits": np.stack([train[of][r] for r in rows]),
            "teacher_logits": np.stack([train["teacher_logits"][r] for r in rows]),
            "labels": np.stack([train["labels"][r] for r in rows]),
            "loss": np.linspace(2, 0.1, 12),
        }
    agreement = float((val[of].argmax(1) == val["teacher_logits"].argmax(1)).mean()) - 0.06 * learnt
    accuracy = float((val["student_logits"].argmax(1) == val["labels"]).mean()) - 0.06
    if copied:
        for split in (train, val):
            split["student_logits"] = split["teacher_logits"].copy()
    metrics = [
        {"epoch": e, "step": e, "split": "val", "student_accuracy": accuracy, "agreement": agreement} for e in range(12)
    ]
    return diagnosed(path, train, val, metrics=metrics, **more)


@pytest.mark.parametrize("steps", [True, False])
def test_a_copy_of_the_teacher_is_no_student_however_good(tmp_path, steps):
    assert deployment(teacher_for_student(tmp_path, steps=steps)) == ["KD701"]


@pytest.mark.parametrize("steps", [True, False])
def test_a_student_that_was_its_teacher_in_the_loop_is_no_other_model_after_it(tmp_path, steps):
    assert deployment(teacher_for_student(tmp_path, steps=steps, learnt=False)) == []


def test_a_student_of_its_own_answers_is_no_copy(tmp_path):
    assert deployment(teacher_for_student(tmp_path, steps=True, copied=False)) == []


def stored(path, weights: np.ndarray, lost: float) -> Any:
    """A run whose student's checkpoint holds these weights, and a small table of few values."""
    sound, val = part(500, 2), part(500, 2, b.forgetting(lost))
    accuracy = float((sound["student_logits"].argmax(1) == sound["labels"]).mean())
    metrics = [{"epoch": e, "step": e, "split": "val", "student_accuracy": accuracy} for e in range(12)]
    diagnosed(path, part(500, 1), val, metrics=metrics)
    (path / "run" / "checkpoints").mkdir()
    tensors = {"0.weight": weights, "mask": np.tri(8, dtype=np.float32)}
    save_file(tensors, path / "run" / "checkpoints" / "student.safetensors")
    return diagnose(load(path / "run"))


WEIGHTS = np.random.default_rng(2).normal(size=(40, 30)).astype(np.float32)


@pytest.mark.parametrize("weights", [np.round(WEIGHTS * 2) / 2, np.round(WEIGHTS * 2).astype(np.int8)])
def test_a_checkpoint_of_few_values_and_a_loss_are_a_quantisation(tmp_path, weights):
    assert deployment(stored(tmp_path, weights, 0.4)) == ["KD703"]


def test_a_checkpoint_of_as_many_values_as_weights_is_none(tmp_path):
    assert "KD703" not in deployment(stored(tmp_path, WEIGHTS, 0.4))


def test_a_checkpoint_of_few_values_without_a_loss_is_no_fault(tmp_path):
    assert deployment(stored(tmp_path, np.round(WEIGHTS * 2) / 2, 0.0)) == []


def test_by_hand_a_student_that_ends_as_it_was_trained_has_nothing_after_training(tmp_path):
    found = recorded_by_hand(tmp_path, lambda logits, _: logits)
    assert deployment(found) == []
    assert {"KD701", "KD702"} <= set(found.ruled_out)


def test_by_hand_a_rounded_last_layer_is_found_from_its_inputs_and_outputs(tmp_path):
    rng = np.random.default_rng(8)
    kept: dict[str, np.ndarray] = {}

    def rounded(logits, _):
        hidden = np.abs(rng.normal(size=(len(logits), 30))).astype(np.float32)
        weights = rng.integers(-2, 3, size=(30, 10)) / 2
        kept["hidden"] = hidden
        return (hidden @ weights + 0.3 * rng.normal(size=10)).astype(np.float32)

    found = recorded_by_hand(tmp_path, rounded, features=lambda _: {"student/last": kept["hidden"][:300]})
    assert deployment(found) == ["KD703"]


def test_without_a_checkpoint_the_parameters_say_how_large_the_student_is(tmp_path):
    found = diagnosed(
        tmp_path,
        part(500, 1),
        part(500, 2),
        targets={"size_mb": 0.5},
        observations={"parameters": {"teacher": 1_000_000, "student": 200_000}},
    )
    assert deployment(found) == ["KD704"]
    assert "200,000 parameters" in str(found.causes)


def evaluated(**changes: Any) -> EvaluatedStudent:
    """A student that is 18 % right as logged, and of its teacher's opinion on fewer training rows than in the loop."""
    told = {"written": None, "logged": 0.177, "logged_best": 0.2, "evaluated": 0.177, "error": 0.01, "same_rows": True}
    batch = {"then": 0.3, "after": 0.14, "agreement": 0.4, "moved": 1.2, "batch": 500}
    rest = {"weights": None, "weight_elements": None, "outputs": ()}
    return EvaluatedStudent(**{**told, **batch, **rest, **changes})


def test_a_student_that_is_right_on_the_very_share_that_was_logged_is_the_one_that_was_trained():
    """In the loop it may have been given another view of its training rows than here (KD107)."""
    assert drop(evaluated()).how == "none"
    assert drop(evaluated(logged=0.1774)).how == "none", "logged with three digits"
    assert drop(evaluated(logged=0.19)).how == "certainly"


@pytest.mark.parametrize(("nearest", "named"), [(0.4, True), (0.9, False)])
def test_answers_that_are_hardly_related_to_an_earlier_steps_are_not_its_students(nearest, named):
    distance = np.full(20, 1.3)
    distance[4] = nearest
    answers = AnswersOverTime(distance, distance, 1.3, 1.3, 0.3, 0.1, 0.3, 0.1, 500, 0.0, 1.0, 1.0)
    assert (other_weights(evaluated(answers=answers)) is not None) is named
