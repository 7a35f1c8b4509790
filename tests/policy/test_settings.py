"""Thresholds of rules as settings: all that say so can be set, have their effect, and leave everything else alone."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType

import numpy as np
import pytest

from kddoctor.engine import diagnose
from kddoctor.policy import Policy
from kddoctor.rules.registry import all_rules
from kddoctor.rules.settings import Setting, settings_of, with_settings
from kddoctor.run import load
from tests.builders import recorded_run
from tests.forensics import losses

SETTINGS = [(code, setting) for code, rule in all_rules().items() for setting in settings_of(rule).values()]


def named(item: tuple[str, Setting] | object) -> str:
    return f"{item[0]}-{item[1].name}" if isinstance(item, tuple) else str(item)


def names_read(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_read(constant)


def test_most_rules_have_settings():
    assert len({code for code, _ in SETTINGS}) > 60


@pytest.mark.parametrize("item", SETTINGS, ids=named)
def test_a_setting_says_what_it_means_and_its_own_default_is_allowed(item):
    _, setting = item
    assert setting.text
    assert setting.allows(setting.default)


@pytest.mark.parametrize("item", SETTINGS, ids=named)
def test_a_function_that_is_bound_anew_reads_the_setting(item):
    """A constant that were read in a class body, a default or a decorator would keep its old value."""
    code, setting = item
    rule = all_rules()[code]
    module = sys.modules[rule.judge.__module__]
    functions = [f for f in vars(module).values() if isinstance(f, FunctionType) and f.__module__ == module.__name__]
    assert any(setting.name.upper() in names_read(f.__code__) for f in functions)
    source = [line for line in inspect.getsource(module).splitlines() if not line.startswith((" ", "#"))]
    uses = [line for line in source if setting.name.upper() in line.replace(":", " ").replace(",", " ").split()]
    assert len(uses) == 1, "read at the module's top level, where it is bound for good"


@pytest.fixture(scope="module")
def inert(tmp_path_factory):
    """A run whose distillation term is eight times too weak."""
    return load(recorded_run(tmp_path_factory.mktemp("runs") / "weak", kd=losses.kl(times=0.13)))


def found(run, policy: Policy | None = None) -> dict[str, object]:
    return {finding.code: finding for finding in diagnose(run, policy=policy).findings}


def test_a_threshold_changes_what_is_found(inert):
    assert "KD208" in found(inert)
    assert "KD208" not in found(inert, Policy(settings={"KD208": {"imbalance": 1e5}}))


def test_evidence_says_that_its_threshold_was_set_and_what_it_would_be(inert):
    policy = Policy(settings={"KD208": {"imbalance": 7.0}})
    origins = {evidence.origin for evidence in found(inert, policy)["KD208"].evidence}
    assert "set in the policy: imbalance = 7 (otherwise 5)" in origins


def test_evidence_that_a_setting_did_not_change_keeps_its_origin(inert):
    policy = Policy(settings={"KD208": {"most_steps": 0.79}})
    before, after = (found(inert, p)["KD208"].evidence for p in (None, policy))
    assert [e.origin for e in before if "set in" in e.origin] == []
    assert [e.text for e in before] == [e.text for e in after]


def test_a_policy_leaves_no_trace_in_the_next_diagnosis(inert):
    before = diagnose(inert).to_json()
    diagnose(inert, policy=Policy(settings={"KD208": {"imbalance": 1e5}}, severity={"KD": "note"}))
    assert diagnose(inert).to_json() == before


def test_the_module_keeps_its_constants():
    rule = all_rules()["KD208"]
    with_settings(rule, {"imbalance": 9.0}, "kddoctor.toml")
    assert sys.modules[rule.judge.__module__].IMBALANCE == 5.0


def test_thresholds_that_two_rules_share_are_still_set_for_one():
    rule = all_rules()["KD604"]
    assert {"rows", "further", "certain", "some", "most", "spared"} <= set(settings_of(rule))


def test_a_shared_threshold_reaches_what_both_rules_call(tmp_path):
    def worse_on_two(logits, labels):
        changed = logits.copy()
        hit = np.isin(labels, [4, 9]) & (np.arange(len(labels)) % 3 > 0)
        changed[hit, labels[hit]] = changed[hit].min(axis=1) - 1
        return changed

    run = load(recorded_run(tmp_path / "run", student=worse_on_two))
    assert "KD604" in found(run)
    assert "KD604" not in found(run, Policy(settings={"KD604": {"further": 0.9}}))
