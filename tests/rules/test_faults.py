"""Every fault is named first, and its healthy twin is not sick of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses

COLUMNS = [3, 1, 2, 0, 4, 6, 5, 9, 7, 8]
EXCHANGED = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]
#: A student that did badly enough for its run to be worth a diagnosis.
POOR = b.forgetting(0.3)
AT_ONE = {"declared": {"temperature": 1.0}}

#: For each code: what the sick runs have that ``TWIN`` (or the run without any change) has not.
SICK: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "KD101": {
        "small outputs that favour a few classes": {"teacher": b.untrained},
        "and the checkpoint left keys open": {"teacher": b.untrained, "observations": {"missing_keys": ["fc.weight"]}},
    },
    "KD102": {"half of its answers are wrong": {"teacher": b.forgetting(0.5), "baseline": b.unchanged}},
    "KD103": {
        "seen in training mode": {"in_loop": b.noisy(0.5), "observations": {"teacher_training": True}},
        "only its second pass tells": {"in_loop": b.noisy(1.0), "observations": {"teacher_training": None}},
    },
    "KD105": {
        "seven classes moved": {"teacher": b.permuted(COLUMNS)},
        "two classes exchanged": {"teacher": b.permuted(EXCHANGED)},
        "in the loop only": {"in_loop": b.permuted(COLUMNS), "check": b.permuted(COLUMNS)},
    },
    "KD106": {
        "shifted by one": {"in_loop": b.shifted(1)},
        "shifted by eleven": {"in_loop": b.shifted(11)},
        "cached targets": {"in_loop": b.shifted(7), "targets": True},
    },
    "KD110": {
        "the total is the labels' term": {"mix": (1.0, 0.0)},
        "and no term was recorded": {"mix": (1.0, 0.0), "terms": False},
        "a fixed share of it": {"mix": (0.1, 0.0)},
    },
    "KD201": {
        "terms recorded": {"kd": losses.kl(reduction="mean")},
        "total only": {"kd": losses.kl(reduction="mean"), "terms": False},
        "a hundred classes": {"kd": losses.kl(reduction="mean"), "classes": 100, "rows": 1000},
    },
    "KD202": {
        "no factor": {"kd": losses.kl(scale="1")},
        "no factor, total only": {"kd": losses.kl(scale="1"), "terms": False},
        "T": {"kd": losses.kl(scale="T")},
        "twice T²": {"kd": losses.kl(scale="2T²")},
        "T² squared": {"kd": losses.kl(scale="T⁴")},
    },
    "KD203": {
        "terms recorded": {"kd": losses.divergence("kl-input-not-log")},
        "total only": {"kd": losses.divergence("kl-input-not-log"), "terms": False},
        "a sigmoid, not logged": {"kd": losses.sigmoid_not_logged},
        "a sigmoid, total only": {"kd": losses.sigmoid_not_logged, "terms": False},
    },
    "KD204": {
        "the reverse ran": {"kd": losses.divergence("reverse-kl")},
        "the reverse was declared": {"kd": losses.kl(), "declared": {"loss": "reverse-kl"}},
    },
    "KD205": {
        "the teacher returns probabilities": {"teacher": b.probabilities},
        "a probability for each class": {"teacher": lambda z, y: (1 / (1 + np.exp(3 - z))).astype(np.float32)},
        "softmax before the loss": {"kd": losses.kl(teacher=losses.softmax)},
        "on the student's side": {"kd": losses.kl(student=losses.softmax)},
        "on both": {"kd": losses.kl(teacher=losses.softmax, student=losses.softmax)},
        "in the labels' term": {"ce": losses.of_probabilities},
        "softened before and after": {"kd": losses.softened_again},
    },
    "KD206": {
        "over the batch": {"kd": losses.kl_over_the_batch()},
        "the targets alone": {"kd": losses.targets_over_the_batch()},
        "rows cut across classes": {"kd": losses.rows_cut_across_classes()},
        "a few rows at a time": {"kd": losses.over_chunks_of_rows},
        "over everything": {"kd": losses.over_everything},
        "reshaped and back": {"kd": losses.targets_reshaped},
    },
    "KD207": {
        "terms recorded": {"mix": (0.9, 0.1)},
        "total only": {"mix": (0.9, 0.1), "terms": False},
        "another alpha": {"mix": (0.3, 0.7), "declared": {"alpha": 0.3}},
    },
    "KD208": {
        "a thousand times too strong": {"mix": (1.0, 1000.0)},
        "a thousand times too weak": {"kd": losses.kl(times=1e-3)},
        "a sum over the batch": {"kd": losses.kl(reduction="sum")},
        "a ramp that has hardly begun": {"mix": lambda done: (0.1, 0.9 * math.exp(-5 * (1 - 0.4 * done) ** 2))},
        "such a ramp, total only": {"mix": lambda done: (0.1, 0.05 + 0.1 * done), "terms": False},
        "in every tenth step only": {"mix": lambda done: (0.1, 0.9 if done == 1 else 0.0)},
    },
    "KD209": {
        "the teacher with itself": {"kd": lambda s, t, y: losses.kl()(t, t, y)},
        "the labels": {"kd": lambda s, t, y: losses.cross_entropy(s, y)},
        "targets made up from the labels": {"kd": losses.made_up_targets},
        "made up, total only": {"kd": losses.made_up_targets, "terms": False},
        "regressed on the labels": {"kd": losses.regressed_on_labels},
        "the student's entropy": {"kd": lambda s, t, y: losses.divergence("soft-cross-entropy")(s, s, y)},
    },
    "KD210": {
        "near 0": {"kd": losses.divergence("jsd", beta=0.02), "declared": {"loss": "jsd"}},
        "near 1": {"kd": losses.divergence("jsd", beta=0.98), "declared": {"loss": "jsd"}},
        "another weight for each batch": {"kd": losses.shares_drawn, "declared": {"loss": "jsd"}},
        "another weight for each row": {"kd": losses.shares_by_row, "declared": {"loss": "jsd"}},
    },
    "KD211": {
        "another temperature": {"kd": losses.kl(2.0)},
        "on one side only": {"kd": losses.kl(teacher_temperature=1.0)},
        "another form": {"kd": losses.divergence("jsd")},
        "both directions": {"kd": losses.both_directions},
        "rows weighted by certainty": {"kd": losses.weighted_by_certainty},
        "absolute differences": {"kd": lambda s, t, y: (s - t).abs().mean()},
        "standardised logits": {"kd": losses.kl(teacher=losses.standardised, student=losses.standardised)},
        "slightly other weights, total only": {"mix": (0.3, 0.7), "terms": False},
    },
    "KD301": {"one-hot at T = 1": {"teacher": b.sharpened(20), "student": b.forgetting(0.1), **AT_ONE}},
    "KD402": {
        "both students are low on training rows": {"student": b.forgetting(0.4), "baseline": b.forgetting(0.4, 6)}
    },
    "KD502": {"still rising at the end": {"student": POOR, "metrics": b.rising_curve(0.7)}},
    "KD401": {
        "the labels alone are better, and were not asked for": {
            "student": b.forgetting(0.3),
            "baseline": b.forgetting(0.1, 6),
            "declared": {"alpha": 1.0},
            "mix": (0.0, 1.0),
        },
    },
    "KD504": {"logits held small": {"student": lambda z, y: b.forgetting(0.1)(0.3 * z, y)}},
    "KD506": {
        "no optimizer holds the head": {
            "student": POOR,
            "observations": {"parameters_not_in_optimizer": ["head.bias"]},
        },
        "the body is frozen": {"student": POOR, "observations": {"frozen_parameters": ["body.0.weight"]}},
    },
    "KD505": {
        "the log ends in NaN": {"metrics": b.diverged_curve(), "student": b.forgetting(0.8)},
        "no output is finite": {"student": lambda z, y: np.full_like(z, np.nan), "metrics": b.diverged_curve()},
    },
}
#: What stays in the healthy twin, where the plain run would be another experiment.
TWIN: Mapping[str, Mapping[str, Any]] = {
    "KD102": {"baseline": b.forgetting(0.1)},
    "KD105": {"teacher": b.forgetting(0.02)},
    "KD106": {"targets": True},
    "KD202": {"declared": {"temperature_squared": False}, "kd": losses.kl(scale="1")},
    "KD204": {"declared": {"loss": "reverse-kl"}, "kd": losses.divergence("reverse-kl")},
    "KD205": {"declared": {"temperature": 1.0}},
    "KD207": {"declared": {"alpha": 0.5}, "mix": (0.5, 0.5)},
    "KD210": {"kd": losses.divergence("jsd"), "declared": {"loss": "jsd"}},
    "KD208": {"declared": {"alpha": 0.999}, "mix": (0.001, 0.999)},
    "KD301": AT_ONE,
    "KD402": {"student": b.forgetting(0.02), "baseline": b.forgetting(0.03)},
}


def diagnosed(path, **changes) -> Diagnosis:
    return diagnose(load(recorded_run(path / "run", **changes)))


CASES = [(code, name) for code, runs in SICK.items() for name in runs]


def test_every_code_has_a_sick_run_here_or_in_the_tests_of_its_family():
    files = [path for path in Path(__file__).parent.rglob("test_*.py") if path.name != "test_pages.py"]
    others = "".join(path.read_text("utf-8") for path in files if path != Path(__file__))
    assert [code for code in all_rules() if code not in SICK and code not in others] == []


@pytest.mark.parametrize(("code", "name"), CASES, ids=[f"{code}: {name}" for code, name in CASES])
def test_a_fault_is_the_first_cause(tmp_path, code, name):
    found = diagnosed(tmp_path, **SICK[code][name])
    assert (found.verdict, found.cause_codes[:1]) == ("sick", [code])


@pytest.mark.parametrize("code", SICK)
def test_its_healthy_twin_is_healthy(tmp_path, code):
    found = diagnosed(tmp_path, **TWIN.get(code, {}))
    assert (found.verdict, found.cause_codes) == ("healthy", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"kd": losses.kl(scale="1"), "mix": (0.1, 0.9 * 4.0**2)},
        {"kd": losses.kl(reduction="mean"), "mix": (0.1, 0.9 * 10)},
        {"kd": losses.kl(times=0.9), "ce": losses.tenth_of_cross_entropy, "mix": (1.0, 1.0)},
        {"mix": lambda done: (0.1, 0.9 * min(1.0, 6 * done))},
    ],
    ids=["T squared in the weight", "classes in the weight", "weights in the terms", "a ramp that ends early"],
)
def test_the_declared_balance_is_no_fault_wherever_its_factor_stands(tmp_path, changes):
    assert diagnosed(tmp_path, **changes).cause_codes == []


@pytest.mark.parametrize("code", SICK)
def test_a_cause_says_what_was_measured_and_what_to_change(tmp_path, code):
    cause = diagnosed(tmp_path, **next(iter(SICK[code].values()))).causes[0]
    assert cause.summary.endswith(".")
    assert any(item.supports for item in cause.evidence)
    assert cause.prescription is not None


def test_the_prescribed_columns_put_the_classes_back(tmp_path):
    cause = diagnosed(tmp_path, teacher=b.permuted(COLUMNS)).causes[0]
    columns = cause.prescription.changes["treatment.column_permutation"]
    assert [COLUMNS[c] for c in columns] == list(range(10))


def test_the_prescribed_temperature_softens_collapsed_targets(tmp_path):
    cause = diagnosed(tmp_path, teacher=b.sharpened(20), student=b.forgetting(0.1), **AT_ONE).causes[0]
    assert cause.prescription.changes["distillation.temperature"] > 4
