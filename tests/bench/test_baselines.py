"""Judges that the benchmark sets beside kddoctor: each learns what it should, and says the same twice."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kddoctor.bench.baselines import ablations, config_diff, majority, nearest, trainproof, trainspotter, trees
from kddoctor.bench.baselines.features import features_of, measurement_types
from kddoctor.bench.baselines.trainer_state import trainer_state
from kddoctor.bench.judged import OUTSIDE, Example, Judgement
from kddoctor.engine import diagnose
from kddoctor.engine.diagnosis import judge
from kddoctor.engine.explaining import explain_away
from kddoctor.engine.measuring import measure
from kddoctor.rules.finding import Grade
from kddoctor.run import load
from tests import builders as b
from tests.builders import recorded_run
from tests.engine.findings import believed
from tests.forensics import losses

LEARNERS = {module.__name__.rpartition(".")[2]: module.fit for module in (majority, config_diff, nearest, trees)}
LOG_READERS = {"trainproof": trainproof.fit, "trainspotter": trainspotter.fit}
CONFIG = {"distillation.temperature": 4.0, "distillation.loss": "kl", "distillation.feature_layers": []}


def example(truth=(), *, features=None, metrics=(), **changes) -> Example:
    """A run with the twin's configuration but for what is changed (``__`` for the dot)."""
    config = CONFIG | {key.replace("__", "."): value for key, value in changes.items()}
    return Example("run", "task", truth, features or {}, tuple(metrics), config, CONFIG)


def lessons(seed: int = 0) -> list[Example]:
    """Healthy runs, runs with a large ``loss``, and runs with a large ``entropy`` and a higher temperature."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(8):
        noise = {name: float(rng.normal()) for name in ("loss", "entropy", "noise")} | {"never": math.nan}
        made.append(example((), features=noise))
        made.append(example(("KD202",), features=noise | {"loss": noise["loss"] + 20}))
        hot = noise | {"entropy": noise["entropy"] + 20}
        made.append(example(("KD302",), features=hot, distillation__temperature=20.0))
    return made


def a_log(loss) -> list[dict]:
    """200 steps, an evaluation every ten, and the loss as a function of the share of training that is over."""
    rng = np.random.default_rng(0)
    rows: list[dict] = []
    for step in range(200):
        value = float(loss(step / 200)) * (1 + 0.02 * rng.normal())
        rows.append({"step": step, "split": "train", "loss": value, "lr": 0.1 * (200 - step) / 200, "grad_norm": 1.0})
        if step % 10 == 9:
            rows.append({"step": step, "split": "val", "student_accuracy": 0.9 - 0.5 * math.exp(-step / 40)})
    return rows


GOOD_LOG = a_log(lambda done: 0.3 + 2 * math.exp(-6 * done))
BAD_LOGS = {
    "not a number": a_log(lambda done: 2 - done if done < 0.6 else math.nan),
    "exploding": a_log(lambda done: 2 - done if done < 0.6 else 2 * math.exp(20 * (done - 0.6))),
}


# Features ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory):
    """Measurements of a healthy run, of one that diverged, and of one that left nothing but predictions."""
    runs = {
        "healthy": {"baseline": b.forgetting(0.2)},
        "diverged": {"student": lambda z, y: np.full_like(z, np.nan), "metrics": b.diverged_curve()},
        "predictions": {"steps": 0, "metrics": [], "rows": 100},
        "mean": {"kd": losses.kl(reduction="mean")},
        "untrained": {"teacher": b.untrained, "baseline": b.unchanged},
        "permuted": {"teacher": b.permuted([3, 1, 2, 0, 4, 6, 5, 9, 7, 8])},
    }
    folder = tmp_path_factory.mktemp("runs")
    return {name: measure(load(recorded_run(folder / name, **changes))) for name, changes in runs.items()}


def test_every_record_has_the_same_features_in_the_same_order(records):
    names = list(features_of({}))
    assert all(list(features_of(measured)) == names for measured in records.values())


def test_the_number_of_features_is_bounded():
    # As many as measurements have fields: hundreds of runs, not thousands, are there to fit them.
    assert 100 < len(features_of({})) < 2500


def test_every_measurement_is_among_the_features(records):
    assert {kind for measured in records.values() for kind in measured} <= set(measurement_types())


def test_a_feature_is_a_finite_float_or_nan(records):
    values = [value for measured in records.values() for value in features_of(measured, BAD_LOGS["exploding"]).values()]
    assert all(type(value) is float and not math.isinf(value) for value in values)


def test_what_was_not_recorded_is_nan(records):
    found = features_of(records["predictions"])
    assert math.isnan(found["LearningCurve.explosion"])
    assert math.isnan(found["log.last_loss"])


def test_features_are_the_measured_numbers(records):
    found = features_of(records["healthy"], GOOD_LOG)
    assert found["Manifest.distillation.temperature"] == 4.0
    assert found["Manifest.distillation.loss=kl"] == 1.0
    assert found["LossForensics.mix.kd_weight"] == pytest.approx(0.9, abs=1e-3)
    assert found["log.last_accuracy"] == GOOD_LOG[-1]["student_accuracy"]


def test_no_feature_is_the_seed():
    assert not [name for name in features_of({}) if name.endswith("seed")]


# Judges that learn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_says_the_same_twice(name):
    questions = lessons(seed=1)[:6]
    first, second = (LEARNERS[name](lessons()) for _ in range(2))
    assert [first(q) for q in questions] == [second(q) for q in questions]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_never_looks_at_the_truth_of_a_question(name):
    judge, questions = LEARNERS[name](lessons()), lessons(seed=1)[:6]
    assert [judge(replace(question, truth=())) for question in questions] == [judge(q) for q in questions]


@pytest.mark.parametrize("name", ["nearest", "trees"])
def test_features_tell_the_faults_apart(name):
    judge = LEARNERS[name](lessons())
    said = [judge(question) for question in lessons(seed=1)]
    right = [j.ranked[0] in q.truth if j.sick else not q.truth for j, q in zip(said, lessons(seed=1), strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("name", ["nearest", "trees"])
def test_a_question_that_lacks_a_feature_is_judged_all_the_same(name):
    judge = LEARNERS[name](lessons())
    assert judge(example(features={"loss": 20.0})).ranked[0] == "KD202"


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_without_lessons_calls_nothing_by_name(name):
    assert LEARNERS[name]([])(example(features={"loss": 1.0})).ranked == ()


@pytest.mark.parametrize("name", LEARNERS)
def test_one_label_is_enough_to_learn(name):
    judge = LEARNERS[name]([example(OUTSIDE, features={"loss": 1.0}, distillation__temperature=2.0)])
    said = judge(example(features={"loss": 1.0}, distillation__temperature=3.0))
    assert (said.sick, said.ranked) in {(True, OUTSIDE), (True, ())}


def test_the_majority_is_the_most_frequent_code():
    examples = [example(())] * 5 + [example(("KD302",))] * 3 + [example(("KD202",))] * 2
    assert majority.fit(examples)(example()) == Judgement(True, ("KD302", "KD202"), 0.3)


def test_a_configuration_like_the_twins_is_called_healthy():
    assert not config_diff.fit(lessons())(example(("KD202",))).sick


def test_a_difference_is_known_by_key_and_direction():
    examples = [
        example(("KD302",), distillation__temperature=20.0),
        example(("KD301",), distillation__temperature=1.0),
    ]
    judge = config_diff.fit(examples)
    assert judge(example(distillation__temperature=30.0)).ranked == ("KD302",)
    assert judge(example(distillation__temperature=0.5)).ranked == ("KD301",)


def test_a_difference_that_nobody_has_seen_is_sick_of_nothing_known():
    assert config_diff.fit(lessons())(example(distillation__loss="mse")) == Judgement(True, (), 0.0)


# Judges that read the log --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOG_READERS)
def test_a_sound_log_is_not_sick(name):
    assert not LOG_READERS[name]([])(example(metrics=GOOD_LOG)).sick


@pytest.mark.parametrize("name", LOG_READERS)
@pytest.mark.parametrize("log", BAD_LOGS)
def test_a_diverged_log_is_sick_of_divergence(name, log):
    judge = LOG_READERS[name]([])
    said = judge(example(metrics=BAD_LOGS[log]))
    assert said.sick
    assert "KD505" in said.ranked[:2]
    assert said == judge(example(metrics=BAD_LOGS[log]))


def test_a_log_holds_means_over_several_steps():
    with trainer_state(GOOD_LOG) as path:
        entries = [entry for entry in json.loads(path.read_text())["log_history"] if "loss" in entry]
    assert len(entries) == 50
    assert entries[0]["loss"] == pytest.approx(np.mean([row["loss"] for row in GOOD_LOG[:4]]))


@pytest.mark.parametrize("name", LOG_READERS)
def test_a_run_without_a_log_is_not_sick(name):
    assert LOG_READERS[name]([])(example()) == Judgement(False, (), 0.0)


# Ourselves -----------------------------------------------------------------------------------------------


def test_the_whole_engine_says_what_a_diagnosis_says(tmp_path):
    run = load(recorded_run(tmp_path / "run", kd=losses.kl(reduction="mean")))
    found, said = diagnose(run), ablations.full(measure(run))
    assert said == Judgement(True, ("KD201",), found.causes[0].confidence)


def test_without_probes_the_loss_cannot_be_judged(records):
    assert ablations.full(records["mean"]).ranked[0] == "KD201"
    assert "KD201" not in ablations.no_probes(records["mean"]).ranked


def test_without_probes_divergence_is_still_seen(records):
    assert ablations.no_probes(records["diverged"]).ranked[0] == "KD505"


def test_without_explaining_away_a_symptom_is_a_cause():
    cause, symptom = believed("KD101", masks=("KD102",)), believed("KD102", Grade.STATISTICAL)
    assert explain_away([cause, symptom])[1] != []
    assert ablations.all_causes([symptom, cause]) == ([cause, symptom], [])


def test_without_negative_evidence_more_is_suspected(records):
    measured = records["permuted"]
    whole, part = judge("run", measured), judge("run", measured, weigh=ablations.weigh_support)
    assert {finding.code for finding in whole.findings} < {finding.code for finding in part.findings}
    assert ablations.no_negative_evidence(measured).confidence >= ablations.full(measured).confidence


@pytest.mark.parametrize(
    "judge", [ablations.full, ablations.no_probes, ablations.no_negative_evidence, ablations.no_explaining_away]
)
def test_an_ablation_says_the_same_twice(records, judge):
    assert all(judge(measured) == judge(measured) for measured in records.values())
