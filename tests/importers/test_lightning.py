"""What Lightning's CSVLogger and TensorBoardLogger wrote."""

from __future__ import annotations

import csv
import struct

import numpy as np
import pytest

from kddoctor.errors import RunError, UsageError
from tests.importers.sources import brought_in, curve

pytestmark = pytest.mark.integrations


def last(directory) -> list[dict[str, str]]:
    with (directory / "csv/lightning_logs/version_1/metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_curves_are_those_of_metrics_csv(written, tmp_path):
    run, _ = brought_in(written("lightning") / "csv", tmp_path / "run")
    lines = last(written("lightning"))
    assert curve(run, "loss") == [float(line["train_loss_step"]) for line in lines if line["train_loss_step"]]
    assert curve(run, "kd_loss") == [float(line["train/kd_loss"]) for line in lines if line["train/kd_loss"]]
    assert curve(run, "lr") == [0.1] * 12
    held_out = [float(line["val_acc"]) for line in lines if line["val_acc"]]
    assert curve(run, "student_accuracy", "val") == held_out
    assert len(held_out) == 3


def test_the_last_version_is_taken_unless_another_is_given(written, tmp_path):
    logs = written("lightning") / "csv"
    run, imported = brought_in(logs, tmp_path / "last")
    assert run.manifest.distillation.temperature == 2.0
    assert any("version_1 is the last" in line for line in imported.left)
    first, imported = brought_in(logs / "lightning_logs/version_0", tmp_path / "first")
    assert first.manifest.distillation.temperature == 4.0
    assert not any("version" in line for line in imported.left)


def test_hyperparameters_with_python_tags_are_read_safely(written, tmp_path):
    version = written("lightning") / "csv/lightning_logs/version_0"
    assert "!!python/tuple" in (version / "hparams.yaml").read_text()
    run, imported = brought_in(version, tmp_path / "run")
    assert run.manifest.training.learning_rate == 0.1
    assert run.manifest.distillation.alpha is None
    assert any("alpha is 0.9" in line for line in imported.left)


def test_event_files_hold_the_same_values_in_single_precision(written, tmp_path):
    table, _ = brought_in(written("lightning") / "csv", tmp_path / "csv")
    events, imported = brought_in(written("lightning") / "tensorboard", tmp_path / "tensorboard")
    assert imported.kind == "TensorBoard"
    for key, split in (("loss", "train"), ("kd_loss", "train"), ("loss", "val"), ("student_accuracy", "val")):
        assert np.allclose(curve(events, key, split), curve(table, key, split), rtol=1e-6), (key, split)
    assert events.manifest.distillation.temperature == 2.0


def test_one_event_file_is_a_source_too(written, tmp_path):
    (file,) = (written("lightning") / "tensorboard").glob("*/version_0/*tfevents*")
    run, _ = brought_in(file, tmp_path / "run")
    assert len(curve(run, "loss")) == 12


def test_folders_named_after_splits_are_one_run(written, tmp_path):
    writer = pytest.importorskip("tensorboardX", reason="needs tensorboardX").SummaryWriter
    for split, value in (("train", 0.5), ("validation", 0.25)):
        with writer(str(tmp_path / "logs" / split)) as log:
            for step in range(3):
                log.add_scalar("epoch_accuracy", value, step)
    run, imported = brought_in(tmp_path / "logs", tmp_path / "run")
    assert curve(run, "student_accuracy") == [0.5] * 3
    assert curve(run, "student_accuracy", "val") == [0.25] * 3
    assert imported.said[0].startswith("2 event files: 6 rows")


def test_images_and_histograms_are_left_alone(tmp_path):
    writer = pytest.importorskip("tensorboardX", reason="needs tensorboardX").SummaryWriter
    with writer(str(tmp_path / "logs")) as log:
        log.add_histogram("weights", np.arange(100), 0)
        log.add_text("note", "text", 0)
        log.add_scalar("loss", float("nan"), 0)
    run, _ = brought_in(tmp_path / "logs", tmp_path / "run")
    assert [set(row) for row in run.metrics] == [{"split", "step", "loss"}]


def test_a_record_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    file = tmp_path / "events.out.tfevents.1"
    file.write_bytes(struct.pack("<Q", 1 << 60) + bytes(40))
    with pytest.raises(RunError, match=r"byte 0 claims an event of 1,152,921,504,606,846,976 bytes; the file has 48"):
        brought_in(file, tmp_path / "run")


def test_an_event_file_without_scalars_is_nothing_to_import(written, tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    (tmp_path / "events.out.tfevents.1").write_bytes(b"")
    with pytest.raises(UsageError, match="neither metrics nor logits; give logits with --teacher-logits"):
        brought_in(tmp_path / "events.out.tfevents.1", tmp_path / "run")
