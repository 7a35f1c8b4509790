"""Bare logits: by files of all formats, by names, by flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from kddoctor.errors import RunError, UsageError
from tests.importers.sources import C, N, brought_in, outputs, softmax


def as_parquet(path: Path, arrays: dict[str, np.ndarray]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    columns = {name: values.tolist() for name, values in arrays.items()}
    parquet.write_table(pyarrow.table(columns), path)


def as_csv(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import pandas as pd

    columns = {}
    for name, values in arrays.items():
        parts = {name: values} if values.ndim == 1 else {f"{name}_{c}": values[:, c] for c in range(values.shape[1])}
        columns |= parts
    pd.DataFrame(columns).to_csv(path, index=False)


WRITERS: dict[str, Callable[[Path, dict[str, np.ndarray]], object]] = {
    ".npz": lambda path, arrays: np.savez_compressed(path, **arrays),
    ".safetensors": lambda path, arrays: save_file(arrays, path),
    ".pt": lambda path, arrays: torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, path),
    ".parquet": as_parquet,
    ".csv": as_csv,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_with_named_arrays_becomes_a_run(tmp_path, suffix):
    arrays = outputs()
    WRITERS[suffix](tmp_path / f"dump{suffix}", arrays)
    run, _ = brought_in(tmp_path / f"dump{suffix}", tmp_path / "run")
    part = run.predictions("val")
    assert (run.manifest.task, run.manifest.num_classes) == ("multiclass", C)
    for name, values in arrays.items():
        assert np.allclose(getattr(part, name).read(), values, rtol=1e-6), name


def test_single_arrays_are_given_by_flags(tmp_path):
    paths = {}
    for name, values in outputs().items():
        paths[name] = tmp_path / f"{name[0]}.npy"
        np.save(paths[name], values)
    run, imported = brought_in(
        None, tmp_path / "run", arrays=paths, split="test", temperature=4.0, alpha=0.9, loss="kl"
    )
    assert run.splits == ("test",)
    assert (run.manifest.distillation.temperature, run.manifest.distillation.alpha) == (4.0, 0.9)
    assert "t.npy: teacher_logits" in imported.said


def test_a_tensor_saved_by_itself_is_read(tmp_path):
    arrays = outputs()
    for name, values in arrays.items():
        torch.save(
            torch.from_numpy(values).to(torch.bfloat16 if values.ndim == 2 else torch.int64), tmp_path / f"{name}.pt"
        )
    run, _ = brought_in(tmp_path, tmp_path / "run")
    assert np.allclose(run.predictions("val").teacher_logits.read(), arrays["teacher_logits"], atol=0.05)


def test_names_and_folders_say_the_split(tmp_path):
    for split, folder in (("train", "logits"), ("val", "logits/eval")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, values in outputs(seed=len(split)).items():
            np.save(tmp_path / folder / (f"train_{name}.npy" if split == "train" else f"{name}.npy"), values)
    run, _ = brought_in(tmp_path / "logits", tmp_path / "run")
    assert run.splits == ("train", "val")


def test_one_file_may_hold_both_splits(tmp_path):
    held = {f"{split}/{name}": values for split in ("train", "validation") for name, values in outputs().items()}
    np.savez(tmp_path / "both.npz", **held)
    assert brought_in(tmp_path / "both.npz", tmp_path / "run")[0].splits == ("train", "val")


def test_flags_go_before_the_file(tmp_path):
    arrays = outputs()
    np.savez(tmp_path / "dump.npz", **arrays)
    np.save(tmp_path / "other.npy", arrays["student_logits"] + 1)
    given = {"student_logits": tmp_path / "other.npy"}
    run, _ = brought_in(tmp_path / "dump.npz", tmp_path / "run", arrays=given)
    assert np.allclose(run.predictions("val").student_logits.read(), arrays["student_logits"] + 1)


@pytest.mark.parametrize(
    ("change", "task"),
    [
        ({}, "multiclass"),
        ({"labels": np.eye(C, dtype=int)[np.arange(N) % C]}, "multiclass"),
        ({"labels": np.tile([1, 1, 0, 1], (N, 1))}, "multilabel"),
        (
            {name: np.zeros(N, np.float32) for name in ("teacher_logits", "student_logits")}
            | {"labels": np.arange(N) % 2},
            "binary",
        ),
        (
            {name: np.zeros((N, 1), np.float32) for name in ("teacher_logits", "student_logits")}
            | {"labels": np.arange(N) % 4, "group_ids": np.arange(N) // 4},
            "ranking",
        ),
        (
            {name: np.zeros((N, 3, C), np.float32) for name in ("teacher_logits", "student_logits")}
            | {"labels": np.tile([1, 2, -100], (N, 1))},
            "tokens",
        ),
    ],
)  # fmt: skip
def test_the_task_follows_from_the_shapes(tmp_path, change, task):
    np.savez(tmp_path / "dump.npz", **(outputs() | change))
    assert brought_in(tmp_path / "dump.npz", tmp_path / "run")[0].manifest.task == task


def test_two_columns_of_a_yes_or_no_task_become_one_logit(tmp_path):
    arrays = outputs(classes=2)
    np.savez(tmp_path / "dump.npz", **arrays)
    run, _ = brought_in(tmp_path / "dump.npz", tmp_path / "run", task="binary")
    wanted = arrays["teacher_logits"][:, 1] - arrays["teacher_logits"][:, 0]
    assert np.allclose(run.predictions("val").teacher_logits.read(), wanted)


def test_probabilities_by_name_become_logits_with_the_same_softmax(tmp_path):
    arrays = outputs()
    p = softmax(arrays["teacher_logits"].astype(np.float64))
    np.savez(tmp_path / "dump.npz", labels=arrays["labels"], teacher_probs=p, student_logits=arrays["student_logits"])
    run, imported = brought_in(tmp_path / "dump.npz", tmp_path / "run")
    assert np.allclose(softmax(run.predictions("val").teacher_logits.read()), p, atol=1e-6)
    assert "val: teacher_logits are the logarithms of probabilities, which have the same softmax" in imported.said


def test_probabilities_under_the_name_of_logits_are_kept_and_said(tmp_path):
    arrays = outputs()
    arrays["teacher_logits"] = softmax(arrays["teacher_logits"])
    np.savez(tmp_path / "dump.npz", **arrays)
    run, imported = brought_in(tmp_path / "dump.npz", tmp_path / "run")
    assert np.allclose(run.predictions("val").teacher_logits.read(), arrays["teacher_logits"])
    assert any("teacher_logits look like probabilities" in line for line in imported.said)
    assert not any("student_logits look" in line for line in imported.said)


def test_the_user_can_say_that_outputs_are_probabilities(tmp_path):
    arrays = outputs()
    wanted = {name: softmax(arrays[name].astype(np.float64)) for name in ("teacher_logits", "student_logits")}
    np.savez(tmp_path / "dump.npz", labels=arrays["labels"], **wanted)
    run, _ = brought_in(tmp_path / "dump.npz", tmp_path / "run", probabilities=True)
    assert np.allclose(softmax(run.predictions("val").student_logits.read()), wanted["student_logits"], atol=1e-6)


def test_certain_probabilities_stay_finite(tmp_path):
    arrays = outputs()
    one_hot = np.eye(C)[arrays["labels"]]
    np.savez(tmp_path / "dump.npz", labels=arrays["labels"], teacher_probs=one_hot, student_probs=one_hot)
    run, _ = brought_in(tmp_path / "dump.npz", tmp_path / "run")
    logits = run.predictions("val").teacher_logits.read()
    assert np.isfinite(logits).all()
    assert np.allclose(softmax(logits), one_hot, atol=1e-30)


def test_the_probability_of_yes_becomes_its_log_odds(tmp_path):
    p = np.linspace(0.01, 0.99, N)
    np.savez(tmp_path / "dump.npz", labels=np.arange(N) % 2, teacher_prob=p, student_prob=p)
    run, _ = brought_in(tmp_path / "dump.npz", tmp_path / "run")
    assert run.manifest.task == "binary"
    assert np.allclose(1 / (1 + np.exp(-run.predictions("val").teacher_logits.read())), p, atol=1e-6)


def test_log_probabilities_are_logits(tmp_path):
    arrays = outputs()
    logs = np.log(softmax(arrays["teacher_logits"]))
    np.savez(
        tmp_path / "dump.npz", labels=arrays["labels"], teacher_log_probs=logs, student_logits=arrays["student_logits"]
    )
    run, imported = brought_in(tmp_path / "dump.npz", tmp_path / "run")
    assert np.array_equal(run.predictions("val").teacher_logits.read(), logs)
    assert not any("probabilities" in line for line in imported.said)


def test_missing_arrays_are_named_with_their_flags(tmp_path):
    np.save(tmp_path / "t.npy", outputs()["teacher_logits"])
    with pytest.raises(
        UsageError, match=r"val: teacher_logits without labels and student_logits; .* --labels --student"
    ):
        brought_in(None, tmp_path / "run", arrays={"teacher_logits": tmp_path / "t.npy"})
    assert not (tmp_path / "run").exists()


def test_arrays_that_contradict_one_another_leave_nothing_behind(tmp_path):
    np.savez(tmp_path / "dump.npz", **(outputs() | {"student_logits": np.zeros((N, 9), np.float32)}))
    with pytest.raises(RunError, match=r"val.safetensors: student_logits is \[60, 9\] but teacher_logits is \[60, 4\]"):
        brought_in(tmp_path / "dump.npz", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["dump.npz"]


def test_an_existing_run_is_replaced_only_by_one_that_is_whole(tmp_path):
    from kddoctor.importers import import_run
    from kddoctor.run import load

    np.savez(tmp_path / "good.npz", **outputs())
    np.savez(tmp_path / "bad.npz", **(outputs() | {"labels": np.full(N, 17)}))
    import_run(tmp_path / "good.npz", tmp_path / "run")
    with pytest.raises(UsageError, match="is not empty"):
        import_run(tmp_path / "good.npz", tmp_path / "run")
    with pytest.raises(RunError, match="labels"):
        import_run(tmp_path / "bad.npz", tmp_path / "run", overwrite=True)
    assert load(tmp_path / "run").manifest.imported["from"].endswith("good.npz")


def test_names_of_classes_are_kept(tmp_path):
    np.savez(tmp_path / "dump.npz", **outputs())
    run, _ = brought_in(tmp_path / "dump.npz", tmp_path / "run", class_names=("a", "b", "c", "d"))
    assert run.manifest.class_names == ["a", "b", "c", "d"]


def test_an_import_is_said_in_the_manifest_and_warns_of_nothing(tmp_path):
    np.savez(tmp_path / "dump.npz", **outputs())
    run, imported = brought_in(tmp_path / "dump.npz", tmp_path / "run")
    assert run.warnings == ()
    assert run.manifest.imported == {
        "from": str(tmp_path / "dump.npz"),
        "kind": imported.kind,
        "found": list(imported.said),
        "left": list(imported.left),
    }
