"""Bad input gets one line that names the file, the key, what was found and what was expected."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kddoctor.errors import RunError
from kddoctor.run import load
from kddoctor.run.arrays import first_nonfinite
from tests.run.runs import B, C, K, N, bare_run, full_run, predictions, steps

MULTICLASS = f"task: multiclass\nnum_classes: {C}\n"
TOKENS = "task: tokens\nnum_classes: 4\n"
VAL = "predictions/val.safetensors: "


def message(path: Path) -> str:
    with pytest.raises(RunError) as error:
        load(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def labels(at: int, value: float, dtype: Any = np.int64) -> np.ndarray[Any, Any]:
    array = np.zeros(N, dtype)
    array[at] = value
    return array


WRONG_PREDICTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "models disagree": (
        MULTICLASS,
        {"teacher_logits": np.zeros((N, 9), np.float32)},
        f"student_logits is [{N}, {C}] but teacher_logits is [{N}, 9]; they must agree.",
    ),
    "classes disagree with manifest": (
        "task: multiclass\nnum_classes: 7\n",
        {},
        f"teacher_logits is [{N}, {C}] but num_classes is 7 in kd_run.yaml; they must agree.",
    ),
    "rows disagree": (
        MULTICLASS,
        {"student_logits": np.zeros((N - 1, C), np.float32)},
        f"student_logits is [{N - 1}, {C}] but labels is [{N}]; they must agree.",
    ),
    "zero rows": (
        MULTICLASS,
        {
            "labels": np.zeros(0, np.int64),
            "teacher_logits": np.zeros((0, C), np.float32),
            "student_logits": np.zeros((0, C), np.float32),
        },
        "labels is [0]; it holds no rows.",
    ),
    "one-hot labels": (MULTICLASS, {"labels": np.eye(N, C, dtype=np.int64)}, "store the index of the class"),
    "label too large": (MULTICLASS, {"labels": labels(17, C)}, f"labels[17] is {C}; expected a class from 0 to 3"),
    "label negative": (MULTICLASS, {"labels": labels(3, -1)}, "labels[3] is -1; expected a class from 0 to 3"),
    "label ignored": (MULTICLASS, {"labels": labels(3, -100)}, "labels[3] is -100; expected a class from 0 to 3"),
    "label broken": (MULTICLASS, {"labels": labels(5, 0.5, np.float32)}, "labels[5] is 0.5; expected a whole"),
    "label nan": (MULTICLASS, {"labels": labels(5, np.nan, np.float32)}, "labels[5] is nan; expected a whole"),
    "label infinite": (MULTICLASS, {"labels": labels(5, np.inf, np.float32)}, "labels[5] is"),
    "integer logits": (
        MULTICLASS,
        {"student_logits": np.zeros((N, C), np.int64)},
        "student_logits is of dtype I64; expected floating point logits",
    ),
    "no labels": (MULTICLASS, {"labels": None}, "labels is missing among student_logits, teacher_logits"),
    "no student": (MULTICLASS, {"student_logits": None}, "student_logits is missing among labels, teacher_logits"),
    "misspelt": (
        MULTICLASS,
        {"teacher_logits": None, "techer_logits": np.zeros((N, C))},
        "(is techer_logits a misspelling?)",
    ),
    "ids": (MULTICLASS, {"example_ids": np.zeros(N)}, "example_ids is of dtype F64; expected integers"),
    "binary of two columns": (
        "task: binary\n",
        {"teacher_logits": np.zeros((N, 2)), "labels": np.zeros(N, np.int64)},
        f"teacher_logits is [{N}, 2]; expected [{N}], as task is binary",
    ),
    "binary label": ("task: binary\n", {"labels": labels(1, 2)}, "teacher_logits is"),
    "multilabel label": (
        f"task: multilabel\nnum_classes: {C}\n",
        {"labels": np.full((N, C), 2)},
        "labels[0, 0] is 2; expected 0 or 1",
    ),
    "tokens of images": (TOKENS, {}, f"labels is [{N}]; expected [N, L], as task is tokens"),
    "half of the top": (
        MULTICLASS,
        {"teacher_topk_values": np.zeros((N, 2))},
        "teacher_topk_indices is missing; teacher_topk_values cannot be read without it.",
    ),
    "top outside": (
        MULTICLASS,
        {"teacher_topk_values": np.zeros((N, 2)), "teacher_topk_indices": np.full((N, 2), 9)},
        "teacher_topk_indices[0, 0] is 9; expected a class from 0 to 3",
    ),
    "complex": (MULTICLASS, {"student_logits": np.zeros((N, C), np.complex64)}, "student_logits is of dtype C64"),
}


@pytest.mark.parametrize("name", WRONG_PREDICTIONS)
def test_wrong_predictions(tmp_path: Path, name: str) -> None:
    manifest, changes, expected = WRONG_PREDICTIONS[name]
    found = message(bare_run(tmp_path / "run", manifest, predictions(**changes)))
    assert found.startswith(VAL)
    assert expected in found


WRONG_STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "models disagree": (
        {"teacher_logits": np.zeros((K, B, 9), np.float32)},
        f"teacher_logits is [{K}, {B}, 9] but student_logits is [{K}, {B}, {C}]; they must agree.",
    ),
    "other classes": (
        {"teacher_logits": np.zeros((K, B, 9)), "student_logits": np.zeros((K, B, 9))},
        f"student_logits is [{K}, {B}, 9] but num_classes is {C} in kd_run.yaml",
    ),
    "loss for each example": ({"loss": np.zeros((K, B))}, "loss is of 2 axes; expected one number for each of 3"),
    "too few losses": ({"loss": np.zeros(K - 1)}, "loss is [2] but student_logits is [3, 5, 4]"),
    "no loss": ({"loss": None}, "loss is missing; the file holds labels, step, student_logits, teacher_logits"),
    "label": ({"labels": np.full((K, B), 7)}, "labels[0, 0] is 7; expected a class from 0 to 3"),
    "no steps": (
        {name: value[:0] for name, value in steps().items()},
        "student_logits is [0, 5, 4]; it holds no rows.",
    ),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_wrong_steps(tmp_path: Path, name: str) -> None:
    changes, expected = WRONG_STEPS[name]
    found = message(full_run(tmp_path / "run", steps=steps(**changes)))
    assert found.startswith("steps.safetensors: ")
    assert expected in found


def cut(file: str, keep: float = 0.5) -> Callable[[Path], object]:
    return lambda path: os.truncate(path / file, int((path / file).stat().st_size * keep))


def text(file: str, content: str) -> Callable[[Path], object]:
    return lambda path: (path / file).write_text(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda path: (path / "kd_run.yaml").unlink(), "kd_run.yaml is missing"),
    "no predictions": (lambda path: shutil.rmtree(path / "predictions"), "holds no predictions"),
    "truncated predictions": (cut("predictions/val.safetensors"), VAL + "is not a whole safetensors file"),
    "empty predictions": (cut("predictions/val.safetensors", 0), VAL + "is not a whole safetensors file"),
    "truncated steps": (cut("steps.safetensors"), "steps.safetensors: is not a whole"),
    "truncated checkpoint": (cut("checkpoints/teacher.safetensors"), "checkpoints/teacher.safetensors: is not a"),
    "metrics": (text("metrics.jsonl", '{"step": 1}\n{oops}\n'), "metrics.jsonl: line 2 is not valid JSON"),
    "metrics list": (text("metrics.jsonl", "[1]\n"), "metrics.jsonl: line 1 is [1]; expected keys and values"),
    "metrics text": (text("metrics.jsonl", '{"loss": "low"}\n'), "line 1: loss is 'low'; expected a number"),
    "metrics nested": (text("metrics.jsonl", '{"x": {}}\n'), "line 1: x is {}; expected a number, text or null"),
    "observations": (text("observations.json", "{"), "observations.json: is not valid JSON"),
    "observations list": (text("observations.json", "[]"), "observations.json: holds a list"),
    "observations type": (
        text("observations.json", '{"teacher_training": "no"}'),
        "observations.json: teacher_training is 'no'; expected a valid boolean",
    ),
    "directory for a file": (
        lambda path: ((path / "metrics.jsonl").unlink(), (path / "metrics.jsonl").mkdir()),
        "metrics.jsonl: is not a regular file",
    ),
    "pipe for a file": (
        lambda path: ((path / "metrics.jsonl").unlink(), os.mkfifo(path / "metrics.jsonl")),
        "metrics.jsonl: is not a regular file",
    ),
    "dangling link": (
        lambda path: (path / "predictions/test.safetensors").symlink_to("nowhere"),
        "is a link to a file that does not exist",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_directory(tmp_path: Path, name: str) -> None:
    damage, expected = DAMAGE[name]
    path = full_run(tmp_path / "run")
    damage(path)
    assert expected in message(path)


def test_a_missing_an_empty_and_a_file_for_a_directory(tmp_path: Path) -> None:
    assert "does not exist" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is empty" in message(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    assert "is a file" in message(tmp_path / "file")


def test_a_link_out_of_the_run_directory_is_refused(tmp_path: Path) -> None:
    path, other = full_run(tmp_path / "run"), full_run(tmp_path / "other")
    (path / "predictions/val.safetensors").unlink()
    (path / "predictions/val.safetensors").symlink_to(other / "predictions/val.safetensors")
    assert "is a link that leaves the run directory" in message(path)


def test_features_of_more_rows_than_the_split(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run", features={"val": {"teacher/a": np.zeros((N + 1, 2))}})
    assert f"features/val.safetensors: holds {N + 1} rows but predictions/val.safetensors holds {N}" in message(path)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"teacher/a": np.zeros((3, 2)), "student/b": np.zeros((4, 2))}, "their rows must agree"),
        ({"a": np.zeros((3, 2))}, "a is not named teacher/<layer> or student/<layer>"),
        ({"teacher/a": np.zeros((3, 2), np.int64)}, "of dtype I64; expected floating point activations"),
        ({"teacher/a": np.zeros((0, 2))}, "holds no rows"),
    ],
)
def test_wrong_features(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    assert expected in message(full_run(tmp_path / "run", features={"val": arrays}))


def files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_no_damage_to_any_file_ends_in_another_kind_of_error(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run", manifest={**MANIFEST_WITH_EVERYTHING})
    rng = np.random.default_rng(0)
    for name in files(path):
        whole = (path / name).read_bytes()
        for trial in range(60):
            data = bytearray(whole)
            if trial % 3 == 0:
                del data[rng.integers(len(data)) :]
            else:
                # Headers and short texts are where a flipped bit means something.
                for at in rng.integers(0, min(len(data), 400), size=1 + trial % 4):
                    data[at] ^= 1 << int(rng.integers(8))
            (path / name).write_bytes(data)
            read_everything(path)
        (path / name).write_bytes(whole)
    assert load(path).warnings == ()


MANIFEST_WITH_EVERYTHING = {
    "task": "multiclass",
    "num_classes": C,
    "distillation": {"loss": "kl", "temperature": 4.0, "feature_layers": [["a", "b"]]},
    "training": {"epochs": 3, "optimizer": "sgd"},
    "code": {"teacher": "recipe:teacher"},
}


def read_everything(path: Path) -> None:
    """Load a run and read all its arrays; errors other than RunError escape."""
    try:
        run = load(path)
        for split in run.splits:
            part, features = run.predictions(split), run.features(split)
            assert part is not None
            arrays = [part.teacher_logits, part.student_logits, run.fingerprints(split), *part.extra.values()]
            arrays += [] if features is None else [*features.teacher.values(), *features.student.values()]
            for array in arrays:
                if array is not None:
                    first_nonfinite(array)
                    array.read()
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most damage ends here, some does no harm


def test_lists_of_a_ranking_are_left_out_and_said_so(tmp_path: Path) -> None:
    pairs = {name: np.zeros(N, np.float32) for name in ("teacher_logits", "student_logits")}
    lists = {name: np.zeros((K, B, 7), np.float32) for name in ("teacher_logits", "student_logits")}
    run = bare_run(tmp_path / "run", "task: ranking\n", {"labels": np.arange(N) % 2, **pairs})
    save_file({**lists, "labels": np.zeros((K, B), np.int64), "loss": np.zeros(K)}, run / "steps.safetensors")
    found = load(run)
    assert found.steps is None
    assert any("lists of 7 candidates" in line for line in found.warnings)
