"""Checks in processes of their own: xdist's workers, and rules of an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kddoctor.baselines import save_baseline
from kddoctor.engine import diagnose
from kddoctor.run import load
from tests.rules.test_plugins import block, install, simple, spiky

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(tmp_path):
    """``started("-m", "pytest", …)``: a process in an empty directory, with its package where one is installed."""

    def start(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(map(str, (ROOT, tmp_path / "site")))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        environment = {**kept, "PYTHONPATH": path, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    return start


PYTEST = ("-m", "pytest", "-p", "no:cacheprovider")


def test_workers_give_what_one_process_gives(started, tmp_path, runs):
    good = load(runs["healthy"])
    save_baseline([good], [diagnose(good)], tmp_path / "good.json", reason="first")
    (tmp_path / "kddoctor.toml").write_text("[baseline]\nfile = 'good.json'\n")
    arguments = (*PYTEST, "--kd-run", runs["masking"], "-rA")
    alone, two = started(*arguments), started(*arguments, "-n", "2")

    def outcomes(done) -> list[str]:
        words = ("PASSED ", "FAILED ", "SKIPPED ")
        return sorted(line for line in done.stdout.splitlines() if line.startswith(words))

    assert outcomes(two) == outcomes(alone)
    for failed in ("KD106", "baseline[accuracy]"):
        assert any(line.startswith("FAILED ") and failed in line for line in outcomes(two))
    assert (alone.returncode, two.returncode) == (1, 1)


def test_workers_examine_runs_of_the_ini_file_themselves(started, tmp_path, runs):
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nkd_collect = true\nkd_runs = {runs['masking']}")
    done = started(*PYTEST, "-n", "2")
    assert done.returncode == 1
    assert "INTERNALERROR" not in done.stdout
    assert "\n1 failed, " in done.stdout.replace("=", "").replace("\n ", "\n")


def test_a_broken_run_is_a_usage_error_before_any_worker_starts(started, tmp_path):
    done = started(*PYTEST, "--kd-run", "missing", "-n", "2")
    assert done.returncode == 4
    assert [line for line in done.stderr.splitlines() if line] == [
        f"ERROR: --kd-run: {tmp_path / 'missing'}: does not exist; expected a run directory."
    ]
    assert "Traceback" not in done.stdout + done.stderr


def test_workers_know_when_nothing_could_be_checked(started, runs):
    done = started(*PYTEST, "--kd-run", runs["thin"], "-k", "KD405", "-n", "2")
    assert done.returncode == 5
    assert "no check could run" in done.stdout


def test_a_rule_of_an_installed_package_is_a_check_like_any_other(started, tmp_path):
    install(tmp_path / "site", block("python"))
    run = spiky(tmp_path / "run")
    done = started(*PYTEST, "--kd-run", run, "-k", "ACME101", "-v")
    assert done.returncode == 1
    assert "run/kd_run.yaml::optimisation::ACME101[gradient-spikes] FAILED" in done.stdout
    assert "one gradient is 1000 times the usual one" in done.stdout
    checked = started("-m", "kddoctor", "check", run, "--select", "ACME")
    assert checked.returncode == 1
    assert "FAILED ACME101 optimisation::gradient-spikes - " in checked.stdout


def test_a_rule_of_an_installed_package_that_crashes_is_an_error_and_no_pass(started, tmp_path, runs):
    install(tmp_path / "site", simple("ACME1", "acme-crash", "raise KeyError('lost')"))
    done = started(*PYTEST, "--kd-run", runs["healthy"], "-k", "ACME1 or KD202")
    assert done.returncode == 1
    assert "the rule crashed: KeyError: 'lost'" in done.stdout
    assert "1 passed, 59 deselected, 1 error" in done.stdout
    checked = started("-m", "kddoctor", "check", runs["healthy"], "--select", "ACME1")
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (1, "1 error")
