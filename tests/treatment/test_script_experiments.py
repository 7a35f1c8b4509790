"""Experiments that are put to a user's own script: its settings are the arms, and its records the results."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from kddoctor.engine.diagnosis import diagnose
from kddoctor.errors import UsageError
from kddoctor.run import Run, load
from kddoctor.treatment.experiments import (
    assistant,
    dose_response,
    easy_first,
    labels_only,
    longer,
    more_data,
    one_batch,
    rate,
    wider,
)
from kddoctor.treatment.experiments.experiment import SEEDS
from kddoctor.treatment.experiments.running import Laboratory, carry_out
from kddoctor.treatment.prescription import Prescription
from kddoctor.treatment.recorded_score import recorded_score
from kddoctor.treatment.scripts import training
from kddoctor.treatment.scripts.asking import as_asked
from kddoctor.treatment.scripts.script import script_of
from kddoctor.treatment.scripts.trials import by_script
from kddoctor.treatment.treat import treat
from tests.treatment.own_loop import changed_copy, record_documented

#: Records what the sick run holds, with a student that is right on ``right`` of the rows, and notes its settings.
PRETENDS = """
import json, os, shutil, yaml
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file, save_file

settings = yaml.safe_load(Path("config.yaml").read_text())
kd, optim, seed = settings["kd"], settings["optim"], settings["seed"]
with open({notes!r}, "a") as stream:
    stream.write(json.dumps(settings) + "\\n")
right = {right}
out = Path(os.environ["KDDOCTOR_RUN_DIR"])
shutil.copytree({run!r}, out)
part = out / "predictions" / "val.safetensors"
rows = load_file(part)
labels = rows["labels"]
answers = np.where(np.arange(len(labels)) < right * len(labels), labels, (labels + 1) % 10)
rows["student_logits"] = np.eye(10, dtype=np.float32)[answers] * 5
save_file(rows, part)
"""
ROWS = {"treatment.transfer_rows": "rows"}


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_documented(tmp_path_factory.mktemp("project"))


@pytest.fixture
def pretending(sick: Path, tmp_path: Path) -> Callable[..., Run]:
    """The run with a script whose student is right on that share of rows, in terms of ``kd``, ``optim``, ``seed``."""

    def make(right: str, *, keys: dict[str, str] | None = None, settings: str = "", **code: object) -> Run:
        text = PRETENDS.format(notes=str(tmp_path / "notes"), right=right, run=str(sick))
        known = load(sick).manifest.code
        assert known is not None
        run = changed_copy(sick, tmp_path / "run", text, keys={**known.keys, **(keys or {})}, **code)
        with (run / "config.yaml").open("a", encoding="utf-8") as stream:
            stream.write(settings)
        return load(run)

    return make


def ran_here(words, folder, environment, *, quiet):
    """The script without a process of its own: one experiment runs it dozens of times, and processes have own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            runpy.run_path(words[0])
        except Exception as error:
            return 1, f"{type(error).__name__}: {error}".encode()
    return 0, b""


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], Laboratory]:
    monkeypatch.setattr(training, "run_script", ran_here)

    def of(run: Run) -> Laboratory:
        script = script_of(run)
        trials = by_script(run, script, tmp_path / "log", quiet=True)
        nothing = Prescription(run=run.name, changes=())
        asked = as_asked(run, script)
        return Laboratory(run, trials, nothing, None, tmp_path / "work", as_asked=asked, to_their_end=True)

    return of


def asked_of(laboratory: Laboratory, *experiments, trials=100):
    return carry_out(laboratory, experiments, trials, lambda *_: None)


def notes(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "notes").read_text("utf-8").splitlines()]


def test_the_labels_only_twin_is_the_script_at_alpha_0(pretending, laboratory, tmp_path):
    run = pretending("(0.6 if kd['alpha'] else 0.8) + 0.01 * seed")
    (found,) = asked_of(laboratory(run), labels_only.EXPERIMENT)
    assert (found.outcome, found.confirms) == ("better", ("KD102",))
    assert found.change == pytest.approx(0.2, abs=0.005)
    assert found.low > 0.15
    assert {(each["seed"], each["kd"]["alpha"]) for each in notes(tmp_path)} == {
        (seed, alpha) for seed in range(SEEDS) for alpha in (0.95, 0)
    }


def test_a_record_is_scored_as_its_diagnosis_does(sick):
    gap = diagnose(load(sick)).gap
    assert recorded_score(load(sick)).value == pytest.approx(gap.student)
    assert recorded_score(load(sick)).rows == gap.rows


def test_a_longer_schedule_is_the_script_with_more_epochs(pretending, laboratory, tmp_path):
    run = pretending("0.7 + 0.01 * seed + 0.02 * (seed - 1) * (optim['epochs'] > 20)")
    (found,) = asked_of(laboratory(run), longer.EXPERIMENT)
    assert found.outcome == "open"  # better from one seed, worse from another
    assert {each["optim"]["epochs"] for each in notes(tmp_path)} == {20, 60}


def test_a_rate_that_fell_far_behind_at_its_first_seed_is_not_tried_from_others(pretending, laboratory, tmp_path):
    run = pretending("{0.002: 0.3, 0.006: 0.8, 0.02: 0.6, 0.06: 0.81, 0.2: 0.2}[round(optim['lr'], 3)] + 0.01 * seed")
    (found,) = asked_of(laboratory(run), rate.EXPERIMENT)
    assert (found.outcome, found.best, found.confirms) == ("better", "rate 3 times", ("KD501",))
    assert [arm.name for arm in found.arms if arm.skipped] == ["rate 0.1 times", "rate 10 times"]
    assert len(notes(tmp_path)) == 3 * SEEDS + 2


def test_doses_have_half_of_the_epochs(pretending, laboratory, tmp_path):
    run = pretending("0.9 if (kd['T'], kd['alpha']) == (4, 0.5) else 0.5")
    (found,) = asked_of(laboratory(run), dose_response.EXPERIMENT)
    assert (found.outcome, found.best, found.confirms) == ("better", "T 4, alpha 0.5", ("KD302",))
    assert {each["optim"]["epochs"] for each in notes(tmp_path)} == {10}


def test_where_the_weight_has_no_place_the_temperature_is_tried_alone(pretending, laboratory, tmp_path):
    run = pretending("0.9 if kd['T'] == 4 else 0.5")
    given = {key: place for key, place in run.manifest.code.keys.items() if key != "distillation.alpha"}
    code = run.manifest.code.model_copy(update={"keys": given})
    run = load(run.path)
    object.__setattr__(run, "manifest", run.manifest.model_copy(update={"code": code}))
    (found,) = asked_of(laboratory(run), dose_response.EXPERIMENT)
    assert [arm.name for arm in found.arms] == ["T 1", "T 2", "T 4"]
    assert (found.best, found.changes) == ("T 4", {"distillation.temperature": 4.0})


def test_more_rows_are_told_from_what_half_of_them_cost(pretending, laboratory, tmp_path):
    run = pretending("0.5 + settings['rows'] / 4000", keys=ROWS, settings="rows: 1200\n")
    (found,) = asked_of(laboratory(run), more_data.EXPERIMENT)
    assert (found.outcome, found.confirms) == ("better", ("KD602",))
    assert {(each["rows"], each["optim"]["epochs"]) for each in notes(tmp_path)} == {(600, 40), (1200, 20)}


def test_an_assistant_is_the_scripts_own(pretending, laboratory, tmp_path):
    keys = {"treatment.assistant": "assistant"}
    run = pretending("0.9 if settings['assistant'] == 'distilled' else 0.5", keys=keys, settings="assistant: none\n")
    (found,) = asked_of(laboratory(run), assistant.EXPERIMENT)
    assert (found.outcome, found.confirms) == ("better", ("KD401",))


@pytest.mark.parametrize(
    ("experiment", "needs"),
    [
        (one_batch.EXPERIMENT, "it needs models and data as functions"),
        (wider.EXPERIMENT, "it needs models and data as functions"),
        (easy_first.EXPERIMENT, "it needs treatment.order in code.keys of kd_run.yaml"),
        (assistant.EXPERIMENT, "it needs treatment.assistant in code.keys of kd_run.yaml"),
        (more_data.EXPERIMENT, "it needs treatment.transfer_rows in code.keys of kd_run.yaml"),
    ],
)
def test_what_a_script_cannot_be_asked_is_said(pretending, laboratory, experiment, needs):
    (found,) = asked_of(laboratory(pretending("0.5")), experiment)
    assert found.outcome == "not asked"
    assert needs in found.answer


def test_without_a_place_for_the_seed_nothing_is_asked(sick, laboratory, tmp_path):
    run = load(changed_copy(sick, tmp_path / "run", keys={"distillation.alpha": "kd.alpha"}))
    (found,) = asked_of(laboratory(run), labels_only.EXPERIMENT)
    assert found.answer == "Not asked: it needs training.seed in code.keys of kd_run.yaml."


def test_a_weight_that_may_be_that_of_the_labels_is_not_varied(pretending, laboratory):
    run = pretending("0.5")
    settings = (run.path / "config.yaml").read_text("utf-8")
    (run.path / "config.yaml").write_text(settings.replace("alpha: 0.95", "alpha: 0.05"), "utf-8")
    (found,) = asked_of(laboratory(run), labels_only.EXPERIMENT)
    assert "kd.alpha is 0.05 but kd_run.yaml says distillation.alpha 0.95" in found.answer


def test_an_arm_that_the_script_cannot_train_is_given_up(pretending, laboratory):
    run = pretending("0.5 + 0 / kd['alpha']")
    (found,) = asked_of(laboratory(run), labels_only.EXPERIMENT)
    assert (found.outcome, found.arms[0].stopped) == ("no better", (0, 1, 2))


def test_a_control_that_fails_is_the_scripts_own_failure(pretending, laboratory):
    with pytest.raises(UsageError, match=r"train\.py: failed with exit status 1: ZeroDivisionError"):
        asked_of(laboratory(pretending("1 / 0")), labels_only.EXPERIMENT)


def test_an_interrupted_experiment_goes_on_and_ends_as_a_treatment(pretending, monkeypatch, tmp_path):
    run = pretending("(0.8 if optim['epochs'] == 60 else 0.6) + 0.01 * seed")
    ran, begun = training.run_script, []

    def interrupted(*arguments, **options):
        begun.append(arguments)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return ran(*arguments, **options)

    monkeypatch.setattr(training, "run_script", interrupted)
    with pytest.raises(KeyboardInterrupt):
        treat(run, tmp_path / "out", trials=6, quiet=True)
    result = treat(run, tmp_path / "out", trials=6, resume=True, quiet=True)
    asked = [verdict for verdict in result.experiments if verdict.outcome != "not asked"]
    assert [(verdict.experiment, verdict.outcome) for verdict in asked] == [("longer-schedule", "better")]
    assert len(begun) == 6 + 1 + 1  # trials, the one that was interrupted, and the treatment
    assert result.cost.trainings == 7
    assert result.changes == {"distillation.temperature_squared": True, "training.epochs": 60}
    assert notes(tmp_path)[-1]["kd"]["times_T_squared"]
    assert notes(tmp_path)[-1]["optim"]["epochs"] == 60
    assert not (tmp_path / ".out.treating").exists()
