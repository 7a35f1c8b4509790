"""The text that users see, word for word.

The expected texts lie in ``golden/``. After a wanted change, write them anew and read the difference:

    KDDOCTOR_REFRESH_GOLDEN=1 python -m pytest tests/cli/test_terminal.py
    git diff tests/cli/golden
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kddoctor.report.terminal import PLAIN
from tests import builders as b
from tests.builders import recorded_run
from tests.cli.running import Answer, in_a_process
from tests.forensics import losses

GOLDEN = Path(__file__).parent / "golden"
REFRESH = "KDDOCTOR_REFRESH_GOLDEN"
WIDTH = 100
RUNS = {
    "healthy": {},
    "sick": {
        "kd": losses.kl(reduction="mean"),
        "mix": (0.9, 0.1),
        "student": b.forgetting(0.3),
        "baseline": b.forgetting(0.1),
        "metrics": b.rising_curve(),
    },
    "inconclusive": {"steps": 0, "metrics": []},
}
each_run = pytest.mark.parametrize("name", RUNS)


@pytest.fixture(scope="session")
def piped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What a pipe gets, in a process of its own, from runs named as in a user's folder."""
    folder = tmp_path_factory.mktemp("piped")
    for name, changes in RUNS.items():
        recorded_run(folder / "runs" / name, **changes)
    return {name: in_a_process("diagnose", f"runs/{name}", cwd=folder, NO_COLOR="1") for name in RUNS}


@each_run
def test_the_text_is_the_expected_one(piped, name):
    file = GOLDEN / f"{name}.txt"
    # Blanks at the end of a line cannot be seen, and editors take them away.
    text = "".join(f"{line.rstrip()}\n" for line in piped[name].out.splitlines())
    if os.environ.get(REFRESH):
        file.write_text(text, encoding="utf-8")
    expected = file.read_text(encoding="utf-8")
    assert _without_rounding(text) == _without_rounding(expected), f"wanted? then refresh with {REFRESH}=1"


def _without_rounding(text: str) -> str:
    """What float32 leaves in the place of zero differs from processor to processor; its order of magnitude does not."""
    return re.sub(r"\d\.\d+e-07", "…e-07", text)


@each_run
def test_a_diagnosis_says_nothing_on_stderr(piped, name):
    assert piped[name].err == ""


@each_run
def test_a_pipe_gets_no_escape_codes(piped, name):
    assert "\x1b" not in piped[name].out


@each_run
def test_no_line_is_wider_than_a_hundred_columns_unless_it_is_to_be_copied(piped, name):
    wide = [line for line in piped[name].out.splitlines() if len(line) > WIDTH and "kddoctor " not in line]
    assert wide == []


@each_run
def test_the_verdict_comes_before_everything_but_the_heading(piped, name):
    word = {"healthy": "HEALTHY", "sick": "SICK", "inconclusive": "CANNOT TELL"}[name]
    assert word in piped[name].out.splitlines()[2]


def test_every_cause_is_shown_with_evidence_and_a_fix(piped):
    for part in ("KD201", "KD207", "evidence", "fix", "status"):
        assert part in piped["sick"].out


def test_a_sick_run_ends_with_the_next_command(piped):
    assert "kddoctor treat runs/sick --output runs/sick-treated" in piped["sick"].out
    assert piped["sick"].out.splitlines()[-1].endswith("kddoctor explain KD201")


def test_a_long_path_is_never_broken(tmp_path, kddoctor):
    folder = tmp_path / ("a-very-long-name-of-a-directory-" * 4)
    run = recorded_run(folder / "run", kd=losses.kl(reduction="mean"))
    lines = kddoctor("diagnose", run).out.splitlines()
    assert any(f"kddoctor treat {run} --output {run}-treated" in line for line in lines)


def test_a_pipe_is_a_hundred_columns_wide_whatever_the_terminal_says(tmp_path, kddoctor, monkeypatch):
    run = recorded_run(tmp_path / "run", kd=losses.kl(reduction="mean"))
    before = kddoctor("diagnose", run).out
    monkeypatch.setenv("COLUMNS", "40")
    assert kddoctor("diagnose", run).out == before


def test_a_stream_that_knows_only_ascii_gets_only_ascii(tmp_path):
    run = recorded_run(tmp_path / "run", **RUNS["sick"])
    answer = in_a_process("diagnose", run, PYTHONIOENCODING="ascii")
    assert (answer.code, answer.err) == (1, "")
    assert "x SICK" in answer.out
    assert not set(answer.out) & set(PLAIN)


def test_a_page_on_a_stream_that_knows_only_ascii_is_ascii():
    answer = in_a_process("explain", "KD202", PYTHONIOENCODING="ascii")
    assert (answer.code, answer.err) == (0, "")
    assert "T^2" in answer.out
