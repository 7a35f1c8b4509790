"""A part of kddoctor that raises an error costs its own answer alone, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kddoctor import diagnose, load
from kddoctor.engine import diagnosis
from kddoctor.engine.measuring import losses
from kddoctor.errors import STRICT
from kddoctor.rules.registry import all_rules
from tests.builders import recorded_run
from tests.forensics import losses as forms


def crash(*_: object) -> None:
    raise ZeroDivisionError("a\nbug")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load(recorded_run(tmp_path_factory.mktemp("own") / "run", kd=forms.kl(scale="1")))


@pytest.fixture
def broken_rule(monkeypatch):
    rules = dict(all_rules())
    rules["KD201"] = replace(rules["KD201"], judge=crash)
    monkeypatch.setattr(diagnosis, "all_rules", lambda: rules)


@pytest.fixture
def for_users(monkeypatch):
    monkeypatch.delenv(STRICT)


def test_a_rule_that_fails_is_not_examined_and_the_cause_is_named_all_the_same(run, broken_rule, for_users, caplog):
    found = diagnose(run)
    assert found.cause_codes == ["KD202"]
    (lost,) = (missing for missing in found.not_examined if missing.code == "KD201")
    assert lost.how.startswith("KD201 failed: ZeroDivisionError: a bug (a bug; the details are in ")
    assert caplog.messages == [f"warning: {lost.how}"]
    log = Path(lost.how.rpartition(" in ")[2].rstrip(")"))
    assert "in crash" in log.read_text("utf-8")
    log.unlink()


def test_measurements_of_a_family_that_fail_leave_those_of_the_others(run, monkeypatch, for_users, caplog):
    monkeypatch.setattr(losses, "measurements", crash)
    assert diagnose(run).verdict in ("sick", "inconclusive")
    assert [message.partition(": ZeroDivisionError")[0] for message in caplog.messages] == [
        "warning: measuring losses failed"
    ]


@pytest.mark.usefixtures("broken_rule")
def test_tests_and_the_benchmark_hear_of_every_mistake(run):
    with pytest.raises(ZeroDivisionError):
        diagnose(run)
