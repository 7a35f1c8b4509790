"""Whole diagnoses of synthetic runs: the verdict, compound faults, and faults that no code names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.errors import RunError
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from kddoctor.run.manifest import Code
from kddoctor.treatment.experiments.plain_loop import SEEDS
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses

FUNCTIONS = ("teacher", "student", "train_data", "val_data")
COLUMNS = [3, 1, 2, 0, 4, 6, 5, 9, 7, 8]
MEAN = losses.kl(reduction="mean")


def diagnosed(path, *, select=(), ignore=(), **changes) -> Diagnosis:
    return diagnose(load(recorded_run(path / "run", **changes)), select=select, ignore=ignore)


RUNS = {
    "healthy": {},
    "predictions only": {"steps": 0, "metrics": []},
    "one fault": {"kd": MEAN},
    "two faults": {"kd": losses.kl(reduction="mean", scale="1")},
    "a note": {"observations": {"teacher_training": True}},
    "a symptom": {"teacher": b.untrained, "baseline": b.unchanged},
    "nameless": {"kd": losses.kl_over_the_batch()},
    "no output": {"student": lambda z, y: np.full_like(z, np.nan), "metrics": b.diverged_curve()},
    "suspicions": {"student": b.forgetting(0.4)},
}


@pytest.fixture(scope="session", params=RUNS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    """The diagnosis of each kind of run."""
    return diagnosed(tmp_path_factory.mktemp("run"), **RUNS[request.param])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("classes", [3, 10])
def test_a_sound_run_is_healthy(tmp_path, seed, classes):
    found = diagnosed(tmp_path, seed=seed, classes=classes)
    assert (found.verdict, found.cause_codes) == ("healthy", [])


def test_a_sound_run_of_which_only_totals_were_logged_is_healthy(tmp_path):
    assert diagnosed(tmp_path, terms=False).verdict == "healthy"


@pytest.mark.parametrize(("scale", "verdict"), [(0.02, "inconclusive"), (1.0, "healthy")], ids=["in vain", "closer"])
def test_a_student_neither_better_than_its_twin_nor_closer_to_its_teacher_is_not_called_healthy(
    tmp_path, scale, verdict
):
    def forget(logits, labels):
        return b.forgetting(0.15)(logits, labels) * np.float32(scale)

    def twin(logits, labels):
        return b.forgetting(0.15, seed=6)(logits, labels) * np.float32(0.02)

    found = diagnosed(tmp_path, student=forget, baseline=twin, select=["KD9"])
    assert found.verdict == verdict
    assert ("neither better" in found.summary) is (verdict == "inconclusive")


def of_all_rows(loss):
    """The same term, to which a row without a label is a row like any other."""
    return lambda student, teacher, labels: loss(student, teacher, labels.clamp(min=0))


def test_rows_without_a_label_are_distilled_and_read(tmp_path):
    whole = load(recorded_run(tmp_path / "whole")).steps
    assert whole is not None
    steps = {name: getattr(whole, name).read() for name in ("student_logits", "teacher_logits", "labels")}
    steps["labels"] = np.where(np.arange(steps["labels"].shape[1]) % 3 == 0, -100, steps["labels"])
    run = recorded_run(tmp_path / "run")

    def diagnosed_with(kd):
        columns = {**steps, **b.losses_of(steps, of_all_rows(kd)), "step": whole.step}
        save_file({name: np.ascontiguousarray(column) for name, column in columns.items()}, run / "steps.safetensors")
        return diagnose(load(run))

    sound = diagnosed_with(losses.kl(4.0))
    assert (sound.verdict, sound.cause_codes, sound.warnings) == ("healthy", [], ())
    assert diagnosed_with(MEAN).cause_codes == ["KD201"]


def test_layers_beyond_all_bounds_of_a_student_that_exploded_are_no_broken_record(tmp_path):
    def exploded(logits, labels):
        changed = logits.copy()
        changed[::50] *= np.float32(1e24)
        return changed

    sick = recorded_run(tmp_path / "sick", student=exploded, steps=0, metrics=b.diverged_curve()[:6])
    rng = np.random.default_rng(0)
    layers = {"teacher/last": rng.normal(size=(600, 8)), "student/last": 1e13 * rng.normal(size=(600, 8))}
    for path in (sick, recorded_run(tmp_path / "sound", steps=0)):
        (path / "features").mkdir()
        save_file({name: each.astype(np.float32) for name, each in layers.items()}, path / "features/val.safetensors")
    assert diagnose(load(sick)).verdict in ("sick", "inconclusive")
    with pytest.raises(RunError, match="student/last is beyond"):
        diagnose(load(tmp_path / "sound"))


def test_what_is_there_at_no_cost_is_named_where_the_cause_is_not(tmp_path):
    idle = {"parameters_not_in_optimizer": ["head.bias"], "parameters_without_gradient": []}
    told = diagnosed(tmp_path / "told", observations=idle)
    assert (told.verdict, told.causes[0].severity) == ("inconclusive", "note")
    assert told.summary.endswith(" KD506 is there, at no cost that shows.")
    assert "at no cost" not in diagnosed(tmp_path / "silent", kd=losses.kl_over_the_batch()).summary


def test_predictions_alone_are_too_little_to_tell(tmp_path):
    found = diagnosed(tmp_path, steps=0, metrics=[])
    assert (found.verdict, found.cause_codes) == ("inconclusive", [])


def test_what_is_missing_is_said_with_how_to_record_it(tmp_path):
    found = diagnosed(tmp_path, steps=0, metrics=[])
    assert any("run.step" in line for line in found.advice)
    assert {item.code for item in found.not_examined} >= {"KD201", "KD502"}


@pytest.mark.parametrize(
    ("code", "offered"),
    [(dict.fromkeys(FUNCTIONS, "recipe:make"), True), ({"entry": "train.py"}, False), (None, False)],
)
def test_a_run_that_can_be_trained_again_is_offered_the_experiment(tmp_path, code, offered):
    run = load(recorded_run(tmp_path / "run", student=b.forgetting(0.4)))
    section = None if code is None else Code.model_validate(code)
    found = diagnose(replace(run, manifest=run.manifest.model_copy(update={"code": section})))
    assert found.verdict == "inconclusive"
    assert any(f"--trials {SEEDS}" in line for line in found.advice) == offered


def test_a_low_student_with_nothing_to_blame_is_not_called_healthy(tmp_path):
    assert diagnosed(tmp_path, student=b.forgetting(0.4)).verdict == "inconclusive"


def test_of_a_loss_of_its_author_s_own_a_labels_only_twin_tells_and_the_summary_says_so(tmp_path):
    own = {"kd": lambda s, t, y: ((s - t).abs() ** 1.37).mean(), "declared": {"loss": "custom"}}
    poorer = own | {"student": b.forgetting(0.1)}
    alone = diagnosed(tmp_path / "alone", **poorer)
    assert alone.verdict == "inconclusive"
    assert "only a labels-only twin could tell" in alone.summary
    assert any("baseline_logits" in line for line in alone.advice)
    assert diagnosed(tmp_path / "twin", baseline=b.forgetting(0.2), **poorer).verdict == "healthy"


NAMELESS = {
    "a distance that nobody uses": {"kd": lambda s, t, y: ((s - t).abs() ** 1.37).mean()},
    "another view of the example": {"in_loop": b.noisy(2.0)},
}


@pytest.mark.parametrize("changes", NAMELESS.values(), ids=NAMELESS)
def test_a_fault_outside_the_catalogue_gets_no_wrong_name(tmp_path, changes):
    found = diagnosed(tmp_path, **changes)
    assert (found.verdict, found.cause_codes) == ("inconclusive", [])
    assert found.unexplained


COMPOUND = {
    "mean and no T²": ({"kd": losses.kl(reduction="mean", scale="1")}, {"KD201", "KD202"}),
    "permuted and mean": ({"kd": MEAN, "teacher": b.permuted(COLUMNS)}, {"KD105", "KD201"}),
    "mean and exchanged": ({"kd": MEAN, "mix": (0.9, 0.1)}, {"KD201", "KD207"}),
    "no T² and exchanged": ({"kd": losses.kl(scale="1"), "mix": (0.9, 0.1)}, {"KD202", "KD207"}),
    "shifted and no T²": ({"kd": losses.kl(scale="1"), "in_loop": b.shifted(3)}, {"KD106", "KD202"}),
    "training mode and mean": (
        {"kd": MEAN, "in_loop": b.noisy(0.5), "observations": {"teacher_training": True}},
        {"KD103", "KD201"},
    ),
    "twice softmax and mean": ({"kd": losses.kl(reduction="mean", teacher=losses.softmax)}, {"KD205", "KD201"}),
}


@pytest.mark.parametrize(("changes", "codes"), COMPOUND.values(), ids=COMPOUND)
def test_two_faults_are_both_causes(tmp_path, changes, codes):
    found = diagnosed(tmp_path, **changes)
    assert (found.verdict, set(found.cause_codes)) == ("sick", codes)


def test_a_downstream_finding_is_a_symptom_with_its_cause(tmp_path):
    low = b.forgetting(0.4)
    found = diagnosed(tmp_path, kd=MEAN, student=low, metrics=b.rising_curve())
    assert found.cause_codes == ["KD201"]
    assert [(f.code, f.explained_by) for f in found.symptoms] == [("KD502", "KD201")]


def test_sick_means_a_cause_that_is_more_than_a_note(found):
    serious = any(f.role == "cause" and f.severity in ("error", "warning") for f in found.findings)
    assert (found.verdict == "sick") == serious


def test_the_json_has_the_keys_and_values_of_the_contract(found):
    data = json.loads(found.to_json())
    assert data["format"] == 1
    assert data["verdict"] in ("sick", "healthy", "inconclusive")
    assert {"run", "gap", "findings", "ruled_out", "not_examined"} <= set(data)
    assert {"teacher", "student", "metric", "retention", "agreement"} <= set(data["gap"])
    for finding in data["findings"]:
        assert set(finding) >= {"code", "name", "family", "summary", "against", "where", "worth", "prescription"}
        assert finding["role"] in ("cause", "contributor", "symptom")
        assert finding["severity"] in ("error", "warning", "note")
        assert 0 <= finding["confidence"] <= 1
        assert (finding["explained_by"] is not None) == (finding["role"] == "symptom")
        for evidence in finding["evidence"]:
            assert set(evidence) >= {"probe", "measure", "value", "threshold", "supports", "text"}
        prescription = finding["prescription"]
        assert prescription is None or set(prescription) >= {"summary", "changes", "automatic"}
    for item in data["not_examined"]:
        assert set(item) == {"code", "needs", "how"}


def test_the_json_is_json_to_every_reader(found):
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(found.to_json(), parse_constant=refuse)


def test_every_code_stands_in_one_place_at_most(found):
    places = [f.code for f in found.findings] + list(found.ruled_out) + [item.code for item in found.not_examined]
    assert len(places) == len(set(places))
    assert set(places) <= set(all_rules())


def test_causes_come_first_then_symptoms_then_suspicions(found):
    roles = [f.role for f in found.findings]
    assert roles == sorted(roles, key=["cause", "symptom", "contributor"].index)


def test_shares_of_the_explanations_are_probabilities(found):
    assert all(0 <= share <= 1 for share in found.differential.values())


def test_only_selected_codes_are_judged(tmp_path):
    found = diagnosed(tmp_path, kd=MEAN, teacher=b.permuted(COLUMNS), select=["KD2"])
    assert found.cause_codes == ["KD201"]


def test_ignored_codes_are_not_judged(tmp_path):
    found = diagnosed(tmp_path, kd=MEAN, teacher=b.permuted(COLUMNS), ignore=["KD201"])
    assert "KD201" not in found.to_json()


@pytest.mark.parametrize("name", ["teacher_logits", "baseline_logits"])
def test_logits_that_are_not_numbers_are_refused_by_name(tmp_path, name):
    def broken(z, labels):
        return np.where(np.arange(len(z))[:, None] == 3, np.float32("nan"), z)

    role = {"teacher_logits": "teacher", "baseline_logits": "baseline"}[name]
    with pytest.raises(RunError, match=f"predictions/.*: {name} is NaN or infinite in 10 places, the first in row 3"):
        diagnosed(tmp_path, steps=0, **{role: broken})


def test_the_plan_is_the_prescription_of_the_first_cause(tmp_path):
    found = diagnosed(tmp_path, kd=losses.kl(reduction="mean", scale="1"))
    assert found.plan().code == found.cause_codes[0]


def test_a_healthy_run_needs_no_plan(tmp_path):
    assert diagnosed(tmp_path).plan() is None


ONCE_MORE = "import sys, kddoctor; sys.stdout.write(kddoctor.diagnose(kddoctor.load(sys.argv[1])).to_json())"


def test_the_same_run_gives_the_same_bytes_in_every_process(tmp_path):
    run = recorded_run(tmp_path / "run", kd=losses.kl(reduction="mean", scale="1"), student=b.forgetting(0.2))
    command = [sys.executable, "-c", ONCE_MORE, str(run)]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second == diagnose(load(run)).to_json().encode()


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    first, second = recorded_run(tmp_path / "a"), recorded_run(tmp_path / "b")
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
