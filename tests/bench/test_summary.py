"""The summary, and the tables that are made from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kddoctor.bench.figures import clustered
from kddoctor.bench.gate import decide
from kddoctor.bench.held_out import HELD_OUT
from kddoctor.bench.likeness import LIKENESS, Likeness
from kddoctor.bench.report.tables import by_code, by_family, by_likeness, by_severity, by_task, by_tier
from kddoctor.bench.summary import summarise
from tests.bench.results import result, sound

Summary = dict[str, Any]

SOUND = [sound(seed, 0.9 + 0.001 * (seed % 2), group="twin") for seed in range(6)]
#: Two implementations of one fault: one is always found, the other never is.
FAULTS = [
    *(result("KD201", ("KD201",), name="summed", seed=seed, unseen_implementation=True) for seed in range(4)),
    *(result("KD201", (), name="averaged", seed=seed, unseen_implementation=True) for seed in range(4)),
]


@pytest.fixture(scope="module")
def summary() -> Summary:
    found = [*SOUND, *FAULTS]
    return summarise(found, decide(found), [], {})


def test_runs_of_one_implementation_are_one_cell_of_an_interval() -> None:
    figure = clustered(FAULTS, lambda r: r.sick)
    assert (figure.value, figure.low, figure.high, figure.n) == (0.5, 0.0, 1.0, 8)


@pytest.mark.parametrize("part", ["by_code", "by_family", "by_severity"])
def test_shares_by_a_part_of_the_faults_have_intervals(summary: Summary, part: str) -> None:
    name = {"by_code": "KD201", "by_family": "loss", "by_severity": "severe"}[part]
    of = summary[part][name]["all"]
    assert of["n"] == 8
    for figure in ("detection", "top1", "top3"):
        assert of[figure] == 0.5
        assert of["intervals"][figure] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 8}


def test_each_implementation_that_is_held_out_is_said_to_be_like_an_earlier_one_or_not() -> None:
    assert set(LIKENESS) == {edit.__name__ for edits in HELD_OUT.values() for edit in edits}


def test_shares_by_likeness_are_of_those_that_are_held_out(summary: Summary) -> None:
    assert all(of["all"]["n"] == 0 for of in summary["by_likeness"].values())
    name = next(name for name, likeness in LIKENESS.items() if likeness is Likeness.NEAR)
    near = [replace(r, case=replace(r.case, name=name)) for r in FAULTS]
    found = summarise([*SOUND, *near], decide([*SOUND, *near]), [], {})
    assert {key: of["all"]["n"] for key, of in found["by_likeness"].items()} == {"same": 0, "near": 8, "new": 0}
    assert by_likeness(found).rows[1][:2] == ("near", "8")


def test_shares_by_task_and_tier_have_intervals(summary: Summary) -> None:
    for part in (summary["by_task"]["digits"], summary["by_tier"]["full"]):
        assert set(part["intervals"]) >= {"detection", "top1", "top3", "false_alarms"}


def test_every_table_by_a_part_shows_intervals(summary: Summary) -> None:
    for table in (by_family, by_severity):
        row = next(row for row in table(summary).rows if row[0] in ("loss", "severe"))
        assert "50 % (0–100)" in row, table
    seen = [replace(r, case=replace(r.case, unseen_implementation=False)) for r in FAULTS]
    rows = by_code(summarise([*SOUND, *seen], decide([*SOUND, *seen]), [], {})).rows
    row = next(row for row in rows if row[0] == "KD201")
    assert row[:4] == ("KD201", "8", "0", "50 % (0–100)")
    assert "50 % (0–100)" in by_task(summary).rows[0]
    assert "50 % (0–100)" in by_tier(summary).rows[0]
