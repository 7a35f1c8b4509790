"""Treatments in the background: they outlive the page and the server, and are found again by their files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kddoctor.app.treatments import (
    TreatmentState,
    command_of,
    forget,
    free_output,
    start,
    stop,
    treatments_of,
)
from kddoctor.engine import diagnose
from kddoctor.errors import UsageError
from kddoctor.run import load
from kddoctor.treatment.offer import usual_causes
from kddoctor.treatment.process import Process
from kddoctor.treatment.work_directory import checkpoint_directory
from tests.app.pages import text_of
from tests.treatment.recorded import sick_run

PATIENCE = 180


def wait_for(run: Path, wanted: Callable[[TreatmentState], bool]) -> TreatmentState:
    """The only treatment of the run, once it is as wanted."""
    deadline = time.monotonic() + PATIENCE
    states: tuple[TreatmentState, ...] = ()
    while time.monotonic() < deadline:
        states = treatments_of(run)
        if states and wanted(states[0]):
            return states[0]
        time.sleep(0.1)
    raise AssertionError(states)


def test_a_treatment_is_started_followed_and_finished(treatable, app):
    output = free_output(treatable)
    start(treatable, output, "KD202")
    first = wait_for(treatable, lambda state: bool(state.epochs))
    assert (first.status, first.code, first.epochs[0].epochs) == ("running", "KD202", 6)
    assert first.begun.before is not None
    done = wait_for(treatable, lambda state: state.status == "done")
    assert done.output == output
    assert not checkpoint_directory(output).exists()
    page = app(treatable, output)("treatment")
    assert "Done: KD202 into blobs" in text_of(page).replace("\\", "")


def test_only_one_process_treats_into_an_output(treatable):
    output = free_output(treatable)
    start(treatable, output, "KD202", 500)
    with pytest.raises(UsageError, match="already being treated"):
        start(treatable, output, "KD202", 500)
    stop(treatments_of(treatable)[0])


def test_a_stopped_treatment_goes_on_where_it_stopped(treatable):
    output = free_output(treatable)
    start(treatable, output, "KD202", 60)
    stop(wait_for(treatable, lambda state: len(state.epochs) >= 2))
    stopped = wait_for(treatable, lambda state: state.status == "stopped")
    reached = stopped.epochs[-1].epoch
    assert stopped.epochs_asked == 60
    start(treatable, output, stopped.code, stopped.epochs_asked, resume=True)
    again = wait_for(treatable, lambda state: len(state.epochs) > reached)
    assert [epoch.epoch for epoch in again.epochs] == list(range(1, len(again.epochs) + 1))
    stop(again)


def test_the_page_disables_a_second_start_and_offers_to_stop(treatable, app):
    shown = app(treatable)
    start(treatable, free_output(treatable), "KD202", 500)
    wait_for(treatable, lambda state: bool(state.epochs))
    page = shown("treatment")
    buttons = {button.label: button for button in page.button}
    assert buttons["Treat"].disabled
    assert "epoch" in str(page.get("progress")[0].proto)
    buttons["Stop"].click().run()
    assert wait_for(treatable, lambda state: state.status == "stopped")
    assert "Resume" in {button.label for button in shown("treatment").button}


def test_the_page_asks_before_it_runs_the_code_of_a_run(treatable, app):
    page = app(treatable)("treatment", only="KD202")
    next(button for button in page.button if button.label == "Treat").click().run()
    assert treatments_of(treatable) == ()
    said = text_of(page)
    assert "trust whoever wrote this run" in said
    assert f"--output {treatable}-treated --only KD202" in said


@pytest.fixture(scope="module")
def two_causes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose teacher names its classes in another order, and whose loss lacks its T²."""
    return sick_run(tmp_path_factory.mktemp("two") / "blobs", columns=[1, 2, 3, 0])


def test_all_causes_that_the_command_would_treat_are_chosen_and_treated_together(two_causes, app):
    page = app(two_causes)("treatment")
    chosen = page.get("button_group")[0].value
    assert chosen == list(usual_causes(load(two_causes), diagnose(load(two_causes))))
    assert len(chosen) > 1
    assert f"--only {','.join(chosen)}" in text_of(page)
    for code in chosen:
        assert f"**{code} " in text_of(page)


def test_the_link_of_a_cause_chooses_it_alone(two_causes, app):
    first = usual_causes(load(two_causes), diagnose(load(two_causes)))[0]
    page = app(two_causes)("treatment", only=first)
    assert page.get("button_group")[0].value == [first]
    assert f"--only {first}\n" in text_of(page) + "\n"


def test_no_cause_chosen_is_said_and_nothing_is_offered(two_causes, app):
    page = app(two_causes)("treatment")
    page.get("button_group")[0].set_value([]).run()
    assert [info.value for info in page.info] == ["Choose at least one cause."]
    assert "Treat" not in {button.label for button in page.button}


def test_an_interrupted_treatment_of_several_causes_is_gone_on_with_for_all_of_them(two_causes):
    output = two_causes.with_name("several")
    codes = ",".join(usual_causes(load(two_causes), diagnose(load(two_causes))))
    start(two_causes, output, codes, 300)
    stop(wait_for(two_causes, lambda state: len(state.epochs) >= 1))
    stopped = wait_for(two_causes, lambda state: state.status == "stopped")
    assert stopped.code == codes
    assert command_of(two_causes, output, stopped.code, 300, resume=True)[5:7] == ["--only", codes]


def test_a_script_of_the_user_shows_its_own_arguments(tmp_path, app):
    code = {
        "entry": "blobs.py --times-t-squared false",
        "keys": {"distillation.temperature_squared": "--times-t-squared"},
    }
    page = app(sick_run(tmp_path / "own", code=code))("treatment")
    said = text_of(page)
    assert "- python blobs.py --times-t-squared false" in said
    assert "+ python blobs.py --times-t-squared true" in said
    assert "distillation.temperature_squared" not in said


def test_a_script_that_takes_a_setting_from_nowhere_says_which_key_is_missing(tmp_path, app):
    page = app(sick_run(tmp_path / "own", code={"entry": "blobs.py"}))("treatment")
    assert "code.keys has none of what is to be changed" in page.info[0].value.replace("\\", "")
    assert "Treat" not in {button.label for button in page.button}


def test_a_treatment_of_the_command_line_is_seen_too(treatable):
    output = treatable.with_name("elsewhere")
    command = [sys.executable, "-m", "kddoctor", *command_of(treatable, output, "KD202", 500)[1:]]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        seen = wait_for(treatable, lambda state: bool(state.epochs))
        assert (seen.output, seen.status) == (output, "running")
    finally:
        stop(seen)
        child.wait()


def test_a_treatment_that_fails_shows_the_line_that_says_why(treatable, app):
    (treatable / "blobs.py").write_text("raise ValueError('the data are gone')\n")
    shown = app(treatable)
    start(treatable, free_output(treatable), "KD202")
    failed = wait_for(treatable, lambda state: state.status == "failed")
    assert "the data are gone" in failed.last_line
    assert any("the data are gone" in error.value for error in shown("treatment").error)
    forget(failed)
    assert treatments_of(treatable) == ()


def test_names_that_are_taken_are_not_chosen(tmp_path):
    run = tmp_path / "run"
    assert free_output(run).name == "run-treated"
    (tmp_path / "run-treated").mkdir()
    (tmp_path / ".run-treated-2.treating").mkdir()
    assert free_output(run).name == "run-treated-3"


def test_a_number_that_was_used_again_is_another_process():
    me = Process.current()
    assert me.is_running()
    assert not replace(me, started=me.started - 60).is_running()


def test_a_process_that_ended_and_was_not_waited_for_does_not_run():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process.is_running()
    child.stdin.close()
    deadline = time.monotonic() + 30
    while process.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.is_running()
    os.kill(child.pid, 0)  # it is still there, as a zombie
    child.wait()


def test_a_thin_run_has_nothing_to_treat(app, runs):
    assert "There is nothing to treat" in text_of(app(runs["healthy"])("treatment"))


def test_a_run_without_code_says_how_to_record_it(app, runs):
    assert "names no code" in text_of(app(runs["sick"])("treatment"))
