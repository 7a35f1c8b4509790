"""SARIF: valid by the official schema, a rule for each code, a line for each result, and never clean by accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kddoctor.report.sarif import render_sarif
from kddoctor.rules.registry import all_rules

#: As @microsoft/sarif-multitool 5.7.0 ships it.
SCHEMA = json.loads((Path(__file__).parent / "sarif-2.1.0.schema.json").read_text("utf-8"))
VERDICTS = ("healthy", "sick", "inconclusive")


def sarif_run(case: Any) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(render_sarif(*case))
    jsonschema.validators.validator_for(SCHEMA)(SCHEMA).validate(log)
    (run,) = log["runs"]
    return run


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_gives_a_valid_log(cases, verdict):
    assert sarif_run(cases[verdict])["properties"]["verdict"] == verdict


def test_hostile_names_give_a_valid_log_without_a_link(hostile):
    (first, *_) = sarif_run(hostile)["results"]
    assert r"\[x\](http" in first["message"]["text"]
    assert "\x1b" not in first["message"]["text"]


def test_there_is_a_rule_for_each_code_with_its_page_and_level(cases):
    rules = sarif_run(cases["healthy"])["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(all_rules())
    for rule in rules:
        assert "## What it checks" in rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] == "error"


def test_a_result_carries_its_rule_confidence_and_identity(cases):
    run = sarif_run(cases["sick"])
    (cause, *_) = run["results"]
    finding = cases["sick"].diagnosis.findings[0]
    assert run["tool"]["driver"]["rules"][cause["ruleIndex"]]["id"] == cause["ruleId"] == "KD201"
    assert cause["rank"] == pytest.approx(100 * finding.confidence, abs=0.05)
    assert cause["partialFingerprints"]["runAndCode/v1"] == "sick:KD201"


def test_a_result_points_at_the_key_that_it_is_about(cases):
    case = cases["alpha"]
    (cause, *_) = sarif_run(case)["results"]
    physical = cause["locations"][0]["physicalLocation"]
    region = physical["region"]
    line = (case.run.path / "kd_run.yaml").read_text().splitlines()[region["startLine"] - 1]
    assert line[region["startColumn"] - 1 : region["endColumn"] - 1] == "alpha"
    assert not physical["artifactLocation"]["uri"].startswith("/")


def test_a_result_without_a_key_points_at_the_first_line(cases):
    (cause, *_) = sarif_run(cases["sick"])["results"]
    assert cause["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    assert "reduction" in cause["locations"][0]["message"]["text"]


def test_a_run_that_nobody_can_judge_is_no_clean_log(cases):
    (invocation,) = sarif_run(cases["inconclusive"])["invocations"]
    assert invocation["executionSuccessful"] is False
    levels = {note["descriptor"]["id"]: note["level"] for note in invocation["toolExecutionNotifications"]}
    assert levels["inconclusive"] == "error"


def test_a_healthy_run_has_no_errors_and_says_what_was_not_examined(cases):
    run = sarif_run(cases["healthy"])
    assert {result["level"] for result in run["results"]} <= {"note"}
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    unseen = [note["associatedRule"]["id"] for note in invocation["toolExecutionNotifications"]]
    assert unseen == [item.code for item in cases["healthy"].diagnosis.not_examined]


def test_the_same_run_gives_the_same_bytes(cases):
    assert render_sarif(*cases["sick"]) == render_sarif(*cases["sick"])
