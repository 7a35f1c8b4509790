"""What is written is what is read, whole or not at all."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kddoctor.errors import UsageError
from kddoctor.run import load, write_run
from tests.run.runs import MANIFEST, C, N, bare_run, full_run, predictions, steps


def test_every_part_comes_back(tmp_path: Path) -> None:
    run = load(full_run(tmp_path / "run"))
    assert (run.name, run.splits, run.warnings) == ("run", ("train", "val"), ())
    parts = ("predictions", "steps", "metrics", "observations", "features", "inputs", "fingerprints", "checkpoints")
    assert all(run.has(part) for part in parts)
    assert not run.has("code")
    val, features, inputs = run.predictions("val"), run.features("val"), run.inputs("val")
    assert val is not None
    assert features is not None
    assert inputs is not None
    np.testing.assert_array_equal(val.teacher_logits.read(), predictions()["teacher_logits"])  # type: ignore[union-attr]
    assert (val.n, val.baseline_logits, run.predictions("test")) == (N, None, None)
    assert (list(features.teacher), list(features.student), inputs.n) == (["a"], ["b"], 8)
    assert run.checkpoint("student") is None


def test_steps_come_back_with_their_nan(tmp_path: Path) -> None:
    run = load(full_run(tmp_path / "run", steps_metadata={"weighted_terms": "1"}))
    assert run.steps is not None
    assert math.isnan(run.steps.loss[2])
    assert (run.steps.count, list(run.steps.step), run.steps.kd_loss) == (3, [0, 10, 20], None)
    assert run.steps.weighted_terms is True


def test_infinite_metrics_and_nan_observations_are_legal(tmp_path: Path) -> None:
    run = load(full_run(tmp_path / "run", observations={"teacher_drift": float("nan"), "mine": None}))
    assert run.metrics[1]["loss"] == math.inf
    assert [row["split"] for row in run.metrics] == ["train", "val"]
    assert run.observations.teacher_drift is not None
    assert math.isnan(run.observations.teacher_drift)
    assert run.observations.model_extra == {"mine": None}


@pytest.mark.parametrize(("written", "count"), [([12, 14], 2), (3, 3), (0, 0), ([], 0), (None, 0)])
def test_steps_that_were_not_finite_may_be_listed_or_counted(tmp_path: Path, written: object, count: int) -> None:
    run = load(full_run(tmp_path / "run", observations={"nonfinite_steps": written}))
    assert run.observations.nonfinite_count == count


@pytest.mark.parametrize(("written", "read"), [(True, True), ([True, True], True), ([True, False], False)])
def test_same_inputs_may_be_said_of_each_step(tmp_path: Path, written: object, read: bool) -> None:
    assert load(full_run(tmp_path / "run", observations={"same_inputs": written})).observations.same_inputs is read


def test_a_transposed_view_is_written_as_it_reads(tmp_path: Path) -> None:
    logits = np.arange(N * C, dtype=np.float32).reshape(C, N).T
    run = load(full_run(tmp_path / "run", predictions={"val": predictions(teacher_logits=logits)}))
    np.testing.assert_array_equal(run.predictions("val").teacher_logits.read(), logits)  # type: ignore[union-attr]


def test_tied_bfloat16_weights_can_be_a_checkpoint(tmp_path: Path) -> None:
    weight = torch.ones(2, 3, dtype=torch.bfloat16)
    run = load(full_run(tmp_path / "run", checkpoints={"student": {"a": weight, "b": weight.t()}}))
    assert run.checkpoint("student") is not None


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = full_run(tmp_path / "a"), full_run(tmp_path / "b")
    for file in (path for path in first.rglob("*") if path.is_file()):
        assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()


def test_an_existing_directory_is_not_written_over(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run")
    with pytest.raises(UsageError, match="is not empty"):
        full_run(path)


def test_a_run_is_replaced_when_asked(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run")
    full_run(path, predictions={"test": predictions()}, features=None, inputs=None, overwrite=True)
    assert load(path).splits == ("test",)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_directory_that_is_no_run_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(UsageError, match="is not a run directory"):
        full_run(tmp_path / "thesis", overwrite=True)


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dtype"):
        full_run(tmp_path / "run", fingerprints={"val": np.array(["a"])})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_keeps_the_old_run(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run")
    with pytest.raises(UsageError):
        full_run(path, fingerprints={"val": np.array(["a"])}, overwrite=True)
    assert load(path).has("steps")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["/etc/x.py", "../x.py", "kd_run.yaml", "predictions/x.py", ""])
def test_code_stays_inside_and_apart(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="code file"):
        full_run(tmp_path / "run", code_files={name: "x = 1"})


def test_code_is_written_beside_the_run(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run", code_files={"src/recipe.py": "x = 1\n"})
    assert (path / "src" / "recipe.py").read_text() == "x = 1\n"


L, V = 6, 4
SHAPES = {
    "multiclass": ((N, C), (N,)),
    "binary": ((N,), (N,)),
    "ranking": ((N, 1), (N,)),
    "multilabel": ((N, C), (N, C)),
    "tokens": ((N, L, V), (N, L)),
}


@pytest.mark.parametrize("task", SHAPES)
def test_every_task_has_its_shapes(tmp_path: Path, task: str) -> None:
    logits, labels = SHAPES[task]
    arrays = predictions(
        labels=np.ones(labels, np.float32),
        teacher_logits=np.zeros(logits, np.float32),
        student_logits=np.zeros(logits, np.float64),
    )
    manifest = {"task": task, **({"num_classes": C} if len(logits) > 1 and task != "ranking" else {})}
    val = load(write_run(tmp_path / "run", manifest, predictions={"val": arrays})).predictions("val")
    assert val is not None
    assert val.teacher_logits is not None
    assert val.teacher_logits[1:3].shape == (2, *(s for s in logits[1:] if s > 1))
    assert val.labels.read().dtype == (np.float32 if task == "multilabel" else np.int64)


def test_tokens_may_keep_the_top_logits_only(tmp_path: Path) -> None:
    values, indices = np.zeros((N, L, 2), np.float32), np.ones((N, L, 2), np.int64)
    arrays = {
        "labels": np.full((N, L), -100),
        **{f"{model}_topk_values": values for model in ("teacher", "student")},
        **{f"{model}_topk_indices": indices for model in ("teacher", "student")},
    }
    manifest = {"task": "tokens", "num_classes": 4}
    val = load(write_run(tmp_path / "run", manifest, predictions={"val": arrays})).predictions("val")
    assert val is not None
    assert val.teacher_logits is None
    assert val.student_topk_indices is not None


def test_one_row_is_a_run(tmp_path: Path) -> None:
    arrays = {name: value[:1] for name, value in predictions().items()}
    assert load(bare_run(tmp_path / "run", "task: multiclass\nnum_classes: 4\n", arrays)).splits == ("val",)


def test_arrays_and_splits_that_nobody_knows_are_warned_about(tmp_path: Path) -> None:
    arrays = predictions(techer_targets=np.zeros((N, C)))
    path = bare_run(tmp_path / "run", "task: multiclass\nnum_classes: 4\n", arrays)
    (path / "predictions" / "dev.safetensors").write_bytes(b"")
    assert load(path).warnings == (
        "predictions/val.safetensors: techer_targets is not a known array; did you mean teacher_targets?",
        "predictions/dev.safetensors: is not read; splits are train, val, test.",
    )


def test_a_metrics_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = full_run(tmp_path / "run")
    with (path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    run = load(path)
    assert len(run.metrics) == 2
    assert "line 3 was cut short" in run.warnings[0]


def test_steps_without_numbers_are_counted_from_zero(tmp_path: Path) -> None:
    run = load(full_run(tmp_path / "run", steps=steps(step=None)))
    assert run.steps is not None
    assert list(run.steps.step) == [0, 1, 2]


def test_manifest_as_mapping_or_model_is_the_same(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", MANIFEST, predictions={"val": predictions()})
    again = write_run(tmp_path / "b", load(path).manifest, predictions={"val": predictions()})
    assert (path / "kd_run.yaml").read_text() == (again / "kd_run.yaml").read_text()


def test_reading_and_writing_runs_need_no_torch() -> None:
    code = "import sys, kddoctor.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
