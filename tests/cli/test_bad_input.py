"""Whatever is wrong with the input: one line on stderr, nothing on stdout, exit code 2, no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.builders import forgetting, recorded_run

VAL = "predictions/val.safetensors"
STEPS = "steps.safetensors"
FEATURES = "features/val.safetensors"


def edited(file: str, key: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Replace one array of a file; None takes it out."""

    def spoil(run: Path) -> None:
        arrays = load_file(run / file)
        new = change(arrays.pop(key).copy())
        if new is not None:
            arrays[key] = np.ascontiguousarray(new)
        save_file(arrays, run / file)

    return spoil


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[5] = value
        return array

    return change


def cut(file: str, share: float) -> Callable[[Path], None]:
    """Truncate a file."""

    def spoil(run: Path) -> None:
        data = (run / file).read_bytes()
        (run / file).write_bytes(data[: int(share * len(data))])

    return spoil


def text(file: str, content: str) -> Callable[[Path], None]:
    """Overwrite a file."""
    return lambda run: (run / file).write_text(content) and None


def without(file: str) -> Callable[[Path], None]:
    """Remove a file."""
    return lambda run: (run / file).unlink()


def no_rows(run: Path) -> None:
    for split in ("val", "train"):
        path = run / f"predictions/{split}.safetensors"
        save_file({name: array[:0] for name, array in load_file(path).items()}, path)


def no_predictions(run: Path) -> None:
    shutil.rmtree(run / "predictions")


def with_layer(name: str, values: np.ndarray) -> Callable[[Path], None]:
    """Record a layer of the student beside a plain one of the teacher."""

    def spoil(run: Path) -> None:
        (run / "features").mkdir()
        rows = np.random.default_rng(0).normal(size=(len(values), 3)).astype(np.float32)
        save_file({"teacher/block": rows, f"student/{name}": values.astype(np.float32)}, run / FEATURES)

    return spoil


def with_temperature(value: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        manifest = run / "kd_run.yaml"
        manifest.write_text(manifest.read_text().replace("temperature: 4.0", f"temperature: {value}"))

    return spoil


def with_fingerprints(rows: int) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        (run / "fingerprints").mkdir()
        save_file({"fingerprint": np.arange(rows)}, run / "fingerprints/val.safetensors")

    return spoil


#: What was done to a good run, and what the line has to name.
SPOILED: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no manifest": (without("kd_run.yaml"), ("kd_run.yaml", "missing")),
    "an empty manifest": (text("kd_run.yaml", ""), ("kd_run.yaml", "empty")),
    "a manifest that is no YAML": (text("kd_run.yaml", "task: [multiclass"), ("kd_run.yaml",)),
    "an unknown task": (text("kd_run.yaml", "task: multi\nnum_classes: 10\n"), ("kd_run.yaml", "task")),
    "no class count": (text("kd_run.yaml", "task: multiclass\n"), ("kd_run.yaml", "num_classes")),
    "another class count": (text("kd_run.yaml", "task: multiclass\nnum_classes: 12\n"), ("12", "10")),
    "a format of the future": (text("kd_run.yaml", "format: 99\ntask: binary\n"), ("format", "99")),
    "no predictions": (no_predictions, ("predictions",)),
    "predictions cut short": (cut(VAL, 0.5), (VAL,)),
    "predictions of no bytes": (cut(VAL, 0.0), (VAL,)),
    "steps cut short": (cut(STEPS, 0.7), (STEPS,)),
    "no rows": (no_rows, ("predictions/train.safetensors",)),
    "labels missing": (edited(VAL, "labels", lambda a: None), (VAL, "labels")),
    "a label too large": (edited(VAL, "labels", with_value(10)), (VAL, "labels[5]", "10", "0 to 9")),
    "a label below zero": (edited(VAL, "labels", with_value(-100)), (VAL, "labels[5]", "-100")),
    "labels too few": (edited(VAL, "labels", lambda a: a[:-1]), (VAL, "labels", "599", "600")),
    "classes differ between the models": (
        edited(VAL, "teacher_logits", lambda a: a[:, :9]),
        (VAL, "teacher_logits", "9", "10"),
    ),
    "classes differ between the files": (
        edited(STEPS, "student_logits", lambda a: a[..., :9]),
        (STEPS, "student_logits", "9", "10"),
    ),
    "NaN in the teacher": (edited(VAL, "teacher_logits", with_value(np.nan)), (VAL, "teacher_logits", "row 5")),
    "infinity in the student": (edited(VAL, "student_logits", with_value(np.inf)), (VAL, "student_logits", "row 5")),
    "logits of whole numbers": (edited(VAL, "teacher_logits", lambda a: a.astype(np.int64)), (VAL, "teacher_logits")),
    "steps without a loss": (edited(STEPS, "loss", lambda a: None), (STEPS, "loss")),
    "too many losses": (edited(STEPS, "loss", lambda a: np.append(a, a)), (STEPS, "loss", "24", "12")),
    "a teacher of no number that is one": (
        edited(VAL, "teacher_logits", with_value(1e30)),
        (VAL, "teacher_logits", "beyond 1e+18", "row 5"),
    ),
    "a temperature near zero": (with_temperature("1.0e-300"), ("kd_run.yaml", "temperature", "1e-300", "1e-06")),
    "a temperature without end": (with_temperature("1.0e+300"), ("kd_run.yaml", "temperature", "1e+300", "1e+06")),
    "NaN in a layer": (
        with_layer("fc", np.where(np.arange(600)[:, None] == 7, np.nan, np.ones((600, 2)))),
        (FEATURES, "student/fc", "NaN", "row 7"),
    ),
    "fewer fingerprints than rows": (
        with_fingerprints(599),
        ("fingerprints/val.safetensors", "fingerprint", "599", "600"),
    ),
    "metrics that are no JSON": (text("metrics.jsonl", "{]\n{}\n"), ("metrics.jsonl", "line 1")),
    "observations that are no JSON": (text("observations.json", "{]"), ("observations.json",)),
    "an observation of the wrong type": (
        text("observations.json", '{"teacher_training": "yes"}'),
        ("observations.json", "teacher_training"),
    ),
}


@pytest.mark.parametrize(("spoil", "names"), SPOILED.values(), ids=SPOILED)
def test_bad_input_is_one_line_that_names_it(kddoctor, runs, tmp_path, spoil, names):
    run = tmp_path / "run"
    shutil.copytree(runs["healthy"], run)
    spoil(run)
    answer = kddoctor("diagnose", run)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("kddoctor: ")
    assert answer.err.count("\n") == 1
    assert all(name in answer.err for name in names), answer.err


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_what_is_no_run_directory_is_one_line_that_names_it(kddoctor, tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    answer = kddoctor("diagnose", tmp_path / name)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert str(tmp_path / name) in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("diagnose",),
        ("diagnose", "a", "b"),
        ("nonsense",),
        ("diagnose", "--nonsense", "a"),
        ("diagnose", "a", "--format", "x"),
    ],
    ids=" ".join,
)
def test_bad_usage_is_exit_code_two_without_a_traceback(kddoctor, arguments):
    answer = kddoctor(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err


def one_row(run: Path) -> None:
    for split in ("val", "train"):
        path = run / f"predictions/{split}.safetensors"
        save_file({name: array[:1].copy() for name, array in load_file(path).items()}, path)


def one_step_of_one_row(run: Path) -> None:
    arrays = load_file(run / STEPS)
    save_file({k: a[:1, :1].copy() if a.ndim > 1 else a[:1].copy() for k, a in arrays.items()}, run / STEPS)


def constant_logits(run: Path) -> None:
    edited(VAL, "teacher_logits", np.zeros_like)(run)
    edited(VAL, "student_logits", np.zeros_like)(run)


def huge_logits(run: Path) -> None:
    edited(VAL, "teacher_logits", lambda a: a * np.float32(1e6))(run)
    edited(STEPS, "teacher_logits", lambda a: a * np.float32(1e6))(run)


def one_label(run: Path) -> None:
    edited(VAL, "labels", np.zeros_like)(run)


def a_layer_of_one_number(run: Path) -> None:
    with_layer("fc", np.random.default_rng(1).normal(size=600))(run)


def layers_of_a_diverged_student(run: Path) -> None:
    for split in ("val", "train"):
        edited(f"predictions/{split}.safetensors", "student_logits", lambda a: np.full_like(a, np.nan))(run)
    with_layer("fc", np.full((600, 2), np.nan))(run)
    (run / "observations.json").write_text('{"nonfinite_steps": [3, 4, 5]}')


EXTREME = (
    one_row,
    a_layer_of_one_number,
    layers_of_a_diverged_student,
    one_step_of_one_row,
    constant_logits,
    huge_logits,
    one_label,
    without(STEPS),
    without("metrics.jsonl"),
)


@pytest.mark.parametrize("change", EXTREME, ids=lambda change: change.__qualname__)
def test_extreme_but_legal_runs_get_a_verdict(kddoctor, runs, tmp_path, change):
    run = tmp_path / "run"
    shutil.copytree(runs["healthy"], run)
    change(run)
    answer = kddoctor("diagnose", run)
    assert answer.code in (0, 1, 3), answer.err
    assert answer.err == ""


def test_a_few_rows_are_too_few_to_call_a_run_healthy(kddoctor, runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs["healthy"], run)
    one_row(run)
    answer = kddoctor("diagnose", run)
    assert answer.code == 3
    assert "Too few held-out rows" in answer.out
    assert "record at least 30 rows in predictions/val.safetensors" in answer.out


def test_names_in_a_record_cannot_steer_the_terminal(kddoctor, tmp_path):
    run = recorded_run(tmp_path / "run", student=forgetting(0.3))
    name = "\\u001b[31mlayer\\nanother line"
    (run / "observations.json").write_text(f'{{"parameters_not_in_optimizer": ["{name}"]}}')
    with (run / "kd_run.yaml").open("a") as manifest:
        manifest.write('"\\e[31mkey\\nanother line": 1\n')
    for how in ("-v", "-q"):
        answer = kddoctor("diagnose", run, how)
        assert ("layer another line" in " ".join(answer.out.split())) == (how == "-v")
        assert "\x1b" not in answer.out + answer.err
    assert answer.out.count("\n") == answer.err.count("\n") == 1
