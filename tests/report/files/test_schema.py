"""The JSON schema that is shipped is the one of the types, and real diagnoses obey it."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import pytest

from kddoctor.report.schema import diagnosis_schema

SHIPPED = resources.files("kddoctor.report").joinpath("diagnosis.schema.json").read_text("utf-8")


def test_the_shipped_schema_is_in_step_with_the_types():
    again = "run python -m kddoctor.report.schema > kddoctor/report/diagnosis.schema.json"
    assert diagnosis_schema() == SHIPPED, again


@pytest.mark.parametrize("verdict", ["healthy", "sick", "inconclusive"])
def test_a_diagnosis_obeys_it(cases, verdict):
    jsonschema.Draft202012Validator(json.loads(SHIPPED)).validate(json.loads(cases[verdict].diagnosis.to_json()))


def test_a_diagnosis_without_a_verdict_does_not(cases):
    data = json.loads(cases["sick"].diagnosis.to_json())
    del data["verdict"]
    assert not jsonschema.Draft202012Validator(json.loads(SHIPPED)).is_valid(data)
