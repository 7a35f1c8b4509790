"""Snapshots of the student while it is trained: what is kept, and that the loop does not notice."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from kddoctor.run import load
from kddoctor.run.recording.snapshots import MOST
from kddoctor.run.snapshots import Snapshots
from tests.run.distillation import Distillation
from tests.run.test_recorder import assert_same, everything


def trained(path: Path, epochs: int, **changes: object) -> tuple[Distillation, Snapshots | None]:
    """A distillation with a snapshot after each epoch."""
    distillation = Distillation()
    with distillation.record(path, **changes) as run:
        for epoch in range(epochs):
            distillation.train_for(1, run)
            run.snapshot(epoch=epoch)
    return distillation, load(path).snapshots("val")


def test_a_snapshot_is_what_the_student_says_at_that_moment(tmp_path: Path) -> None:
    _, found = trained(tmp_path / "run", 3, layers=["1"])
    assert found is not None
    assert found.student_logits is not None
    assert list(found.epoch) == [0, 1, 2]
    part = load(tmp_path / "run").predictions("val")
    # The last one was taken where training ended.
    np.testing.assert_allclose(found.student_logits[2], part.student_logits[: found.n], rtol=1e-5, atol=1e-6)
    assert not np.allclose(found.student_logits[0], found.student_logits[2])
    assert list(found.student) == ["1"]


def test_snapshots_change_nothing_at_all(tmp_path: Path) -> None:
    random.seed(0)
    np.random.seed(0)
    plain = Distillation()
    plain.train_for(1)
    plain.train_for(1)
    expected = everything(plain)
    watched = Distillation()
    with watched.record(tmp_path / "run", layers=["1"]) as run:
        for epoch in range(2):
            watched.train_for(1, run)
            run.snapshot(epoch=epoch)
        assert_same(everything(watched), expected)


def test_of_many_snapshots_evenly_spaced_ones_are_kept(tmp_path: Path) -> None:
    _, found = trained(tmp_path / "run", MOST + 4)
    assert found is not None
    assert len(found) <= MOST
    assert set(np.diff(found.epoch)) == {2}


def test_there_are_no_more_rows_than_predictions(tmp_path: Path) -> None:
    _, found = trained(tmp_path / "run", 2, max_examples=10)
    assert found is not None
    assert found.n == 10


def test_where_the_disk_space_is_short_snapshots_go_before_predictions(tmp_path: Path) -> None:
    _, found = trained(tmp_path / "run", 2, max_megabytes=0.01)
    assert found is None
    recording = load(tmp_path / "run").observations.recording
    assert recording is not None
    assert "snapshots" in recording.dropped


def test_a_resumed_run_keeps_the_snapshots_of_before(tmp_path: Path) -> None:
    distillation = Distillation()
    run = distillation.record(tmp_path / "first")
    distillation.train_for(1, run)
    run.snapshot(epoch=0)
    torch.save(run.state_dict(), tmp_path / "state.pt")
    run.finish()
    again = distillation.record(tmp_path / "second")
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    distillation.train_for(1, again)
    again.snapshot(epoch=1)
    again.finish()
    found = load(tmp_path / "second").snapshots("val")
    assert found is not None
    assert list(found.epoch) == [0, 1]


def test_without_a_snapshot_there_is_no_file(tmp_path: Path) -> None:
    distillation = Distillation()
    with distillation.record(tmp_path / "run") as run:
        distillation.train_for(1, run)
    assert not (tmp_path / "run" / "snapshots").exists()
    run.snapshot(epoch=9)  # after the end, as any other call, it does nothing
