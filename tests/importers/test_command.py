"""``kddoctor import``, and ``kddoctor diagnose`` of what another tool wrote."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from kddoctor.errors import RunError
from kddoctor.run import load
from tests.importers.sources import outputs


def metrics_csv(folder: Path, losses: list[float], accuracy: list[float] | None = None) -> Path:
    """What CSVLogger writes, for curves that training would not give in seconds."""
    folder.mkdir()
    lines = [f"{epoch},{10 * epoch},{loss}," for epoch, loss in enumerate(losses)]
    lines += [f"{epoch},{10 * epoch},,{value}" for epoch, value in enumerate(accuracy or ())]
    (folder / "metrics.csv").write_text("epoch,step,train_loss,val_acc\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture
def level(tmp_path):
    """A run that levelled, without any logits."""
    losses = [1 + math.exp(-epoch) for epoch in range(20)]
    return metrics_csv(tmp_path / "level", losses, [0.9 - 0.8 * math.exp(-epoch) for epoch in range(20)])


def test_an_import_says_what_it_found_what_it_did_not_and_what_comes_next(kddoctor, level, tmp_path):
    answer = kddoctor("import", level, tmp_path / "run")
    assert answer.code == 0
    assert "Lightning CSVLogger" in answer.out
    assert "found      metrics.csv: 40 rows of metrics: loss, student_accuracy" in answer.out
    assert "the number of classes (--num-classes)" in answer.out
    assert "codes need: give --teacher-logits, --student-logits and" in answer.out
    assert answer.out.endswith(f"next: kddoctor diagnose {tmp_path / 'run'}\n")


def test_metrics_alone_cannot_tell_and_say_what_to_record(kddoctor, level):
    answer = kddoctor("diagnose", level)
    assert answer.code == 3
    assert "CANNOT TELL" in answer.out
    assert "no predictions" in answer.out
    assert "run.step(" in answer.out
    assert "Lightning CSVLogger" in answer.err


def test_metrics_alone_still_show_what_metrics_can(kddoctor, tmp_path):
    source = metrics_csv(tmp_path / "nan", [2.0, 1.5, 1.2, 1.1, 1.0] + [math.nan] * 15)
    answer = kddoctor("diagnose", source, "--format", "json")
    assert [finding["code"] for finding in json.loads(answer.out)["findings"] if finding["role"] == "cause"] == [
        "KD505"
    ]
    assert answer.code == 1


def test_a_diagnosis_of_a_source_is_that_of_its_import(kddoctor, level, tmp_path):
    kddoctor("import", level, tmp_path / level.name / "run")
    direct = json.loads(kddoctor("diagnose", level, "--format", "json").out)
    imported = json.loads(kddoctor("diagnose", tmp_path / level.name / "run", "--format", "json").out)
    assert (direct.pop("run"), imported.pop("run")) == ("level", "run")
    assert direct == imported


def test_a_file_of_logits_is_diagnosed_as_it_is(kddoctor, tmp_path):
    arrays = outputs(rows=200)
    arrays["teacher_logits"] = arrays["teacher_logits"][:, [1, 0, 2, 3]]
    np.savez(tmp_path / "dump.npz", **arrays)
    answer = kddoctor("diagnose", tmp_path / "dump.npz", "--format", "json")
    assert answer.code in (1, 3)
    assert json.loads(answer.out)["gap"]["rows"] == 200
    assert "dump.npz: labels, teacher_logits, student_logits" in answer.err


def test_a_code_is_explained_in_a_source(kddoctor, level):
    answer = kddoctor("explain", "KD505", level)
    assert answer.code == 0
    assert "KD505" in answer.out


def test_a_diagnosis_leaves_the_source_and_the_place_for_temporary_files_alone(kddoctor, level, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = sorted(level.rglob("*"))
    kddoctor("diagnose", level)
    assert sorted(level.rglob("*")) == before
    assert list(temporary.iterdir()) == []


def test_logits_by_flags_need_no_source(kddoctor, tmp_path):
    flags: list[str | Path] = []
    for name, values in outputs().items():
        np.save(tmp_path / f"{name}.npy", values)
        flags += [f"--{name.replace('_', '-')}", tmp_path / f"{name}.npy"]
    answer = kddoctor("import", tmp_path / "run", *flags, "--temperature", "4", "--alpha", "0.9", "--loss", "kl")
    assert answer.code == 0
    run = load(tmp_path / "run")
    assert (run.splits, run.manifest.distillation.temperature) == (("val",), 4.0)
    assert "missing    steps" in answer.out


def test_logits_by_flags_join_the_metrics_of_a_source(kddoctor, level, tmp_path):
    flags: list[str | Path] = []
    for name, values in outputs().items():
        np.save(tmp_path / f"{name}.npy", values)
        flags += [f"--{name.replace('_', '-')}", tmp_path / f"{name}.npy"]
    assert kddoctor("import", level, tmp_path / "run", *flags).code == 0
    run = load(tmp_path / "run")
    assert (run.splits, len(run.metrics)) == (("val",), 40)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "kddoctor import takes SOURCE and RUN_DIR"),
        (["nowhere", "run"], "nowhere: does not exist; expected logits"),
        (["empty", "run"], "empty: nothing in it is known; expected logits"),
        (
            ["some.npz", "run"],
            "some.npz: logits (.npz) with val: labels without teacher_logits and student_logits; not taken",
        ),
        (["level", "run", "--split", "dev"], "dev is not a split"),
        (["level", "run", "--task", "multclass"], "did you mean multiclass?"),
        (["level", "run", "--loss", "kld"], "distillation.loss is 'kld'"),
        (["level", "run", "--temperature", "0"], "distillation.temperature is 0.0"),
        (["level", "level"], "level: is not empty"),
        (["run", "--labels", "nowhere.npy"], "nowhere.npy: does not exist; expected the file of labels"),
        (["run", "--labels", "notes.txt"], "notes.txt: is not a file of arrays that is read"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(kddoctor, level, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("notes.txt").write_text("notes")
    np.savez("some.npz", labels=np.arange(9))
    before = sorted(tmp_path.rglob("*"))
    answer = kddoctor("import", *arguments)
    assert answer.code == 2
    assert line in answer.err
    assert (answer.out, answer.err.count("\n")) == ("", 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_directory_is_no_source(kddoctor, level, tmp_path):
    kddoctor("import", level, tmp_path / "run")
    answer = kddoctor("import", tmp_path / "run", tmp_path / "again")
    assert answer.code == 2
    assert "is a run directory already" in answer.err


def test_overwrite_replaces_a_run_and_nothing_else(kddoctor, level, tmp_path):
    kddoctor("import", level, tmp_path / "run")
    assert kddoctor("import", level, tmp_path / "run", "--overwrite").code == 0
    answer = kddoctor("import", level, level, "--overwrite")
    assert "is not a run directory (no kd_run.yaml), so it is not overwritten" in answer.err


def test_what_is_neither_a_run_nor_a_source_is_refused_as_a_run(kddoctor, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    answer = kddoctor("diagnose", tmp_path)
    assert answer.code == 2
    assert "kd_run.yaml is missing; a run directory needs one" in answer.err


def test_only_an_imported_run_may_lack_predictions(kddoctor, level, tmp_path):
    kddoctor("import", level, tmp_path / "run")
    assert load(tmp_path / "run").splits == ()
    (tmp_path / "run/kd_run.yaml").write_text("task: binary\n")
    with pytest.raises(RunError, match="holds no predictions"):
        load(tmp_path / "run")


def test_the_same_source_gives_the_same_bytes(kddoctor, level, tmp_path):
    for name in ("a", "b"):
        kddoctor("import", level, tmp_path / name)
    for file in ("kd_run.yaml", "metrics.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
