"""The CI recipes of docs/ci.md and the pre-commit hook, run command by command on recorded runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.builders import recorded_run
from tests.forensics import losses

ROOT = Path(__file__).parents[2]
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.S)]
HOOK = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]
RUN = "runs/mobile-kd"


def commands(block: Any) -> list[str]:
    """The shell lines of a recipe, without those that install kddoctor."""
    if isinstance(block, dict):
        found = [line for key in ("run", "script") for line in _lines(block.get(key))]
        return found + [
            line for key, value in block.items() if key not in ("run", "script") for line in commands(value)
        ]
    return [line for item in block for line in commands(item)] if isinstance(block, list) else []


def _lines(value: Any) -> list[str]:
    lines = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return [line for line in lines if not line.startswith("pip install")]


ALL = [line for block in BLOCKS for line in commands(block)]


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """Runs a line in a checkout that holds a healthy or a sick run."""
    programs = tmp_path / "bin"
    programs.mkdir()
    # Under the names that a user's shell knows, and from this interpreter.
    for name in ("kddoctor", "pytest"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {name} "$@"\n')
        program.chmod(0o755)
    folder = tmp_path / "checkout"

    def run(line: str, verdict: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if not folder.exists():
            kd = losses.kl(reduction="mean", scale="1") if verdict == "sick" else None
            recorded_run(folder / RUN, kd=kd)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")}
        path = os.pathsep.join([str(programs), kept["PATH"]])
        settings = {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(["sh", "-c", line], cwd=folder, env=settings, text=True, capture_output=True, check=False)

    return run


def test_the_page_has_commands_of_every_kind():
    assert {line.split()[0] for line in ALL} == {"kddoctor", "pytest"}
    assert {line.split()[1] for line in ALL if line.startswith("kddoctor")} == {"diagnose", "check"}


@pytest.mark.parametrize("line", ALL)
@pytest.mark.parametrize("verdict", ["healthy", "sick"])
def test_a_recipe_fails_for_a_sick_run_and_passes_a_healthy_one(checkout, line, verdict):
    done = checkout(line, verdict)
    expected = 1 if verdict == "sick" and "--exit-zero" not in line else 0
    assert done.returncode == expected, done.stdout + done.stderr


@pytest.mark.parametrize("line", [line for line in ALL if "xml" in line or "sarif" in line])
def test_the_file_of_a_recipe_is_there_after_a_failure(checkout, tmp_path, line):
    checkout(line, "sick")
    (name,) = re.findall(r"kddoctor\.\w+", line)
    text = (tmp_path / "checkout" / name).read_text()
    if name.endswith("sarif"):
        assert json.loads(text)["runs"][0]["results"][0]["ruleId"] == "KD201"
    else:
        assert ET.fromstring(text).findall(".//failure")


def test_the_files_that_a_recipe_uploads_are_those_that_it_writes():
    written = set(re.findall(r"kddoctor\.(?:sarif|xml)", " ".join(ALL)))
    assert set(re.findall(r"(?:sarif_file|junit): (kddoctor\.\w+)", (ROOT / "docs/ci.md").read_text())) <= written


def test_github_actions_get_annotations_with_a_file_of_the_checkout(checkout):
    (line,) = [line for line in ALL if "--sarif" in line]
    done = checkout(line, "sick", GITHUB_ACTIONS="true")
    assert f"\n::error file={RUN}/kd_run.yaml,line=1,title=KD201 " in done.stdout


@pytest.mark.parametrize("verdict", ["healthy", "sick"])
def test_the_hook_checks_the_runs_of_the_files_that_it_is_given(checkout, verdict):
    line = f"{HOOK['entry']} {RUN}/kd_run.yaml"
    done = checkout(line, verdict)
    assert done.returncode == (1 if verdict == "sick" else 0), done.stdout + done.stderr
    assert ("KD201" in done.stdout) is (verdict == "sick")


def test_the_hook_goes_on_after_a_run_that_fails(checkout):
    done = checkout(f"{HOOK['entry']} missing/kd_run.yaml {RUN}/kd_run.yaml", "sick")
    assert done.returncode == 1
    assert "KD201" in done.stdout


@pytest.mark.parametrize("name", ["kd_run.yaml", "runs/a/kd_run.yaml"])
def test_the_hook_is_for_manifests(name):
    assert re.search(HOOK["files"], name)
    assert not re.search(HOOK["files"], f"{name}.old")


def test_the_hook_of_the_page_exists():
    (used,) = [repo for block in BLOCKS if isinstance(block, dict) for repo in block.get("repos", [])]
    assert [hook["id"] for hook in used["hooks"]] == [HOOK["id"]]
