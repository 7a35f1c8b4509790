"""What the app keeps in the user's cache, and how it says how far it is."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from kddoctor.app.cache import place, signature
from kddoctor.app.preparing import forget_failure, preparation, prepare, start_preparing
from kddoctor.app.summary import find_summary, summary_path
from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.report import views
from kddoctor.run import load
from tests.app.pages import text_of
from tests.builders import recorded_run


def state(run: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(run.rglob("*")) if p.is_file()}


def test_a_summary_holds_the_diagnosis_and_the_numbers_of_every_picture(runs):
    prepare(runs["sick"])
    found, run = find_summary(runs["sick"]), load(runs["sick"])
    assert found.diagnosis() == diagnose(run)
    fresh = views.entropy_curve(run, measure(run))
    kept = found.view("entropy_curve")
    pd.testing.assert_frame_equal(kept.frame, fresh.frame)
    assert (kept.answer, kept.alt, kept.marks, kept.notes) == (fresh.answer, fresh.alt, fresh.marks, fresh.notes)


def test_what_is_missing_is_kept_as_missing(runs):
    prepare(runs["thin"])
    found = find_summary(runs["thin"]).view("layer_similarity")
    assert isinstance(found, views.Missing)
    assert "layers=" in found.needs


def test_the_report_follows(runs):
    prepare(runs["sick"])
    assert find_summary(runs["sick"]).report().read_text("utf-8").startswith("<!DOCTYPE html>")


def test_nothing_is_written_into_the_run(tmp_path):
    run = recorded_run(tmp_path / "run", rows=60)
    before = state(run)
    prepare(run)
    assert find_summary(run) is not None
    assert state(run) == before


def test_a_changed_record_has_another_summary_and_the_older_one_is_removed(tmp_path):
    run = recorded_run(tmp_path / "run", rows=60)
    prepare(run)
    older = summary_path(run)
    os.utime(run / "metrics.jsonl", (0, 0))
    assert find_summary(run) is None
    prepare(run)
    assert summary_path(run) != older
    assert not older.exists()


def test_compiled_code_in_a_run_does_not_make_it_another_one(tmp_path):
    run = recorded_run(tmp_path / "run", rows=60)
    before = signature(run)
    (run / "__pycache__").mkdir()
    (run / "__pycache__" / "recipe.cpython-311.pyc").write_bytes(b"x")
    assert signature(run) == before


def test_two_runs_compared_have_a_place_of_their_own(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert len({place(a), place(b), place(a, b), place(b, a)}) == 4


def test_a_run_that_cannot_be_diagnosed_says_why_and_can_be_tried_again(tmp_path):
    run = recorded_run(tmp_path / "run", rows=60)
    (run / "kd_run.yaml").write_text("task: nonsense\n")
    prepare(run)
    failed = preparation(run)
    assert "kd_run.yaml" in failed.error
    assert not failed.is_running
    forget_failure(run)
    assert preparation(run) is None


def test_a_run_that_was_never_diagnosed_shows_progress_and_then_its_verdict(tmp_path, app, monkeypatch):
    run = recorded_run(tmp_path / "run")
    application = app()
    monkeypatch.setattr(sys, "argv", ["script.py", str(run)])
    page = application()
    assert page.get("progress"), text_of(page)
    deadline = time.monotonic() + 120
    while find_summary(run) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert application().title[0].value == "Healthy"


def test_a_preparation_whose_process_is_gone_is_begun_anew(tmp_path):
    run = recorded_run(tmp_path / "run", rows=60)
    start_preparing(run)
    first = preparation(run)
    assert first.is_running
    first.process.stop()
    assert not preparation(run).is_running
    start_preparing(run)
    assert preparation(run).process != first.process
    preparation(run).process.stop()


@pytest.mark.parametrize("count", [1, 2])
def test_pages_of_a_finished_summary_start_nothing(runs, count, monkeypatch):
    pair = [runs["sick"], runs["healthy"]][:count]
    prepare(*pair)
    assert preparation(*pair) is None
