"""Runs that W&B kept on this machine."""

from __future__ import annotations

import math
import sys

import pytest

from kddoctor.errors import RunError, UsageError
from kddoctor.importers.wandb import records
from tests.importers.sources import brought_in, curve

pytestmark = pytest.mark.integrations


def log_of(folder, run_id: str):
    (file,) = folder.glob(f"wandb/*/run-{run_id}.wandb")
    return file


def test_history_and_config_are_read(written, tmp_path):
    run, imported = brought_in(written("wandb"), tmp_path / "run")
    assert curve(run, "loss")[:12] == [1 / (epoch + 1) for epoch in range(12)]
    assert math.isnan(curve(run, "loss")[12])
    assert [row["epoch"] for row in run.metrics if row["split"] == "train"] == list(range(13))
    assert curve(run, "student_accuracy", "val") == pytest.approx([epoch / 20 for epoch in range(12)])
    assert "accuracy was logged in percent, and is kept as a share" in imported.said
    distillation = run.manifest.distillation
    assert (distillation.temperature, distillation.alpha) == (2.0, 0.9)
    assert (run.manifest.num_classes, run.manifest.training.learning_rate) == (3, 0.1)


def test_the_last_run_is_taken_unless_another_is_asked_for(written, tmp_path):
    _, imported = brought_in(written("wandb"), tmp_path / "last")
    assert "one other run (--run-id takes another than the last)" in imported.left
    run, _ = brought_in(written("wandb"), tmp_path / "first", run_id="first")
    assert run.manifest.distillation.temperature == 4.0
    with pytest.raises(UsageError, match="no run is called third; there are first, second"):
        brought_in(written("wandb"), tmp_path / "none", run_id="third")


def test_every_level_of_the_directory_is_a_source(written, tmp_path):
    file = log_of(written("wandb"), "first")
    for number, path in enumerate((file, file.parent, file.parents[1])):
        run, _ = brought_in(path, tmp_path / str(number), run_id="first")
        assert run.manifest.distillation.temperature == 4.0


def test_a_log_that_a_crash_cut_short_is_read_as_far_as_it_goes(written, tmp_path):
    whole = log_of(written("wandb"), "first").read_bytes()
    file = tmp_path / "run-first.wandb"
    file.write_bytes(whole[: len(whole) * 99 // 100])
    run, _ = brought_in(file, tmp_path / "run")
    assert curve(run, "loss")[:3] == [1, 1 / 2, 1 / 3]


def test_records_over_several_blocks_are_put_together(written):
    data = log_of(written("wandb"), "first").read_bytes()
    assert max(map(len, records(data, "f"))) > 1 << 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"else" + data, "is not a log of Weights & Biases"),
        (lambda data: data[:7] + b"\0\0\0\0\x04\0\x01\xff\xff\xff\xff", "holds a record that is not W&B's"),
    ],
)
def test_another_file_is_named(written, tmp_path, change, message):
    file = tmp_path / "run-first.wandb"
    file.write_bytes(change(log_of(written("wandb"), "first").read_bytes()))
    with pytest.raises(RunError, match=f"run-first.wandb: {message}"):
        brought_in(file, tmp_path / "run")


def test_without_the_library_the_extra_is_named(written, tmp_path, monkeypatch):
    log = log_of(written("wandb"), "first")
    for module in ("wandb", "wandb.proto.wandb_internal_pb2"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"need wandb: pip install 'kddoctor\[importers\]'"):
        brought_in(log, tmp_path / "run")
