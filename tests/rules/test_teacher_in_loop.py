"""What the loss saw of the teacher, beside the teacher itself: records without a second pass and without targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.run import load
from tests import builders as b
from tests.builders import recorded_run

POOR = b.forgetting(0.15)
LESS = b.forgetting(0.12)


def diagnosed(path: Path, **changes: object) -> Diagnosis:
    run = recorded_run(path / "run", student=POOR, steps=20, **changes)
    steps = load_file(run / "steps.safetensors")
    del steps["teacher_logits_check"]
    save_file(steps, run / "steps.safetensors")
    return diagnose(load(run))


def largest(kept: int, filling: float):
    def cut(logits, labels):
        least = np.sort(logits, axis=1)[:, -kept][:, None]
        return np.where(logits >= least, logits, np.float32(filling))

    return cut


def times(factor: float):
    return lambda logits, labels: np.asarray(factor * logits, np.float32)


def exchanged(logits, labels):
    """Classes 0 and 1, of a teacher that is wrong on a quarter of the rows."""
    return np.ascontiguousarray(LESS(logits, labels)[:, [1, 0, *range(2, logits.shape[1])]])


def pushed(logits, labels):
    """Hardly sure of anything, and with a liking for one class."""
    return np.asarray(0.1 * logits + 0.25 * np.eye(logits.shape[1])[0], np.float32)


@pytest.mark.parametrize("filling", [-30.0, 0.0, -1e4, -np.inf])
def test_a_list_that_was_filled_up_before_the_loss_saw_it_is_proven(tmp_path, filling):
    found = diagnosed(tmp_path, in_loop=largest(2, filling))
    assert found.cause_codes[:1] == ["KD306"]
    (evidence,) = (e for e in found.findings[0].evidence if e.measure == "levelled")
    assert evidence.value == 1.0
    assert "all of the teacher's logits but 2 (median) are one and the same number" in evidence.text


def spread(kept: int):
    """All classes but the largest share what the teacher gave them."""

    def cut(logits, labels):
        shares = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        rest = np.argsort(shares, axis=1)[:, :-kept]
        mean = np.take_along_axis(shares, rest, axis=1).mean(axis=1, keepdims=True)
        np.put_along_axis(shares, rest, np.broadcast_to(mean, rest.shape), axis=1)
        return np.log(shares).astype(np.float32)

    return cut


@pytest.mark.parametrize(("filled", "worth"), [(spread(5), "note"), (largest(2, -30.0), "error")])
def test_a_list_whose_rest_has_what_the_teacher_gave_it_is_worth_a_note(tmp_path, filled, worth):
    found = diagnose(load(recorded_run(tmp_path / "run", student=POOR, steps=20, in_loop=filled)))
    assert [f.severity for f in found.causes if f.code == "KD306"] == [worth]


def test_units_that_a_relu_shut_are_no_list_that_was_filled_up(tmp_path):
    def hidden(logits, labels):
        units = logits @ np.random.default_rng(5).normal(size=(logits.shape[1], logits.shape[1]))
        return np.maximum(units - np.median(units, axis=1, keepdims=True), 0).astype(np.float32)

    run = recorded_run(tmp_path / "run", student=POOR, steps=20, in_loop=hidden)
    assert "KD306" not in diagnose(load(run)).cause_codes


def test_a_teacher_whose_own_outputs_are_filled_up_was_not_cut_by_the_loop(tmp_path):
    assert "KD306" not in diagnosed(tmp_path, teacher=largest(2, -30.0)).cause_codes


def test_one_class_alone_is_no_list(tmp_path):
    assert "KD306" not in diagnosed(tmp_path, in_loop=largest(1, -30.0)).cause_codes


@pytest.mark.parametrize("factor", [6.0, 0.1])
def test_logits_that_the_loop_multiplies_are_named_with_their_factor(tmp_path, factor):
    found = diagnosed(tmp_path, in_loop=times(factor))
    assert found.cause_codes[:1] == ["KD305"]
    (evidence,) = (e for e in found.findings[0].evidence if e.measure == "multiple")
    assert evidence.value == pytest.approx(factor, rel=0.1)


def test_logits_that_were_recorded_after_the_temperature_are_not_multiplied(tmp_path):
    assert "KD305" not in diagnosed(tmp_path, in_loop=times(0.25)).cause_codes


def test_targets_without_information_are_seen_where_the_loss_saw_them(tmp_path):
    found = diagnosed(tmp_path, in_loop=times(20.0), declared={"temperature": 1.0})
    assert found.cause_codes[:1] == ["KD301"]


def test_two_classes_are_exchanged_though_the_teacher_is_not_right_about_all_their_rows(tmp_path):
    assert diagnosed(tmp_path, teacher=exchanged).cause_codes[:1] == ["KD105"]


def test_a_teacher_that_is_unsure_of_other_inputs_and_about_as_right_is_badly_prepared(tmp_path):
    found = diagnosed(tmp_path, in_loop=pushed, observations={"same_inputs": False})
    assert found.cause_codes[:1] == ["KD108"]


def test_of_inputs_that_are_the_students_own_that_is_not_said(tmp_path):
    assert "KD108" not in diagnosed(tmp_path, in_loop=pushed, observations={"same_inputs": True}).cause_codes


def test_nothing_is_said_of_a_loop_with_the_teachers_own_outputs(tmp_path):
    found = diagnosed(tmp_path)
    assert {"KD105", "KD108", "KD301", "KD305", "KD306"}.isdisjoint(found.cause_codes)


def with_inputs(run: Path, prepared) -> Path:
    """The same run with inputs of both models, without a word of them in observations.json."""
    rows = np.random.default_rng(0).normal(0.3, 1.0, (600, 1, 8, 8)).astype(np.float32)
    (run / "inputs").mkdir()
    save_file({"inputs": rows, "teacher_inputs": prepared(rows)}, run / "inputs" / "train.safetensors")
    (run / "observations.json").write_text("{}")
    return run


def darker(rows):
    return np.ascontiguousarray(rows * np.float32(0.2))


def test_recorded_inputs_tell_that_the_teachers_are_prepared_otherwise(tmp_path):
    worse = recorded_run(tmp_path / "run", student=POOR, in_loop=b.forgetting(0.3))
    found = diagnose(load(with_inputs(worse, darker)))
    assert found.cause_codes[:1] == ["KD108"]
    assert "prepared otherwise than the student's" in found.findings[0].evidence[0].text


def test_a_teacher_that_does_as_well_with_inputs_of_its_own_is_sound(tmp_path):
    found = diagnose(load(with_inputs(recorded_run(tmp_path / "run"), darker)))
    assert "KD108" not in found.cause_codes
    assert "KD108" in found.ruled_out


@pytest.mark.parametrize(("size", "healthy"), [(0.3, True), (3.0, False)], ids=["light noise", "another view"])
def test_a_view_of_which_the_teacher_says_nearly_the_same_is_no_fault(tmp_path, size, healthy):
    seen = {"teacher_training": False, "teacher_drift": 0.0}
    found = diagnose(load(recorded_run(tmp_path / "run", in_loop=b.noisy(size), observations=seen)))
    assert (found.verdict == "healthy") is healthy
    assert any("differ" in text for text in found.unexplained) is not healthy


def test_parameters_that_are_frozen_on_purpose_do_not_make_a_student_suspicious_that_fits(tmp_path):
    head = {"frozen_parameters": ["head.weight"], "parameters_without_gradient": ["head.weight"]}
    seen = head | {"parameters_not_in_optimizer": ["head.weight"]}
    assert diagnose(load(recorded_run(tmp_path / "fits", observations=seen))).verdict == "healthy"
    behind = diagnose(load(recorded_run(tmp_path / "behind", observations=seen, student=b.forgetting(0.4))))
    assert behind.verdict != "healthy"
