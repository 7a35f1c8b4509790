"""MLflow's file store and its database."""

from __future__ import annotations

import math
import shutil
import sqlite3

import pytest

from kddoctor.errors import RunError, UsageError
from kddoctor.importers import mlflow_database
from kddoctor.importers.mlflow_runs import MlflowRun
from tests.importers.sources import brought_in, curve

pytestmark = pytest.mark.integrations


@pytest.fixture(params=["mlruns", "database", "database/mlflow.db"])
def store(written, request):
    return written("mlflow") / request.param


def test_both_stores_give_the_same_run(store, tmp_path):
    run, imported = brought_in(store, tmp_path / "run", run_id="second")
    losses = curve(run, "loss")
    assert losses[:4] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert math.isnan(losses[4])
    assert losses[5] == math.inf
    assert curve(run, "student_accuracy", "val") == [0, 0.1, 0.2, 0.3]
    assert run.manifest.training.learning_rate == 0.1
    assert (run.manifest.distillation.temperature, run.manifest.num_classes) == (4.0, 3)
    assert imported.kind.startswith("MLflow")


def test_a_run_is_chosen_by_name_by_id_and_by_the_start_of_its_id(store, tmp_path):
    run, imported = brought_in(store, tmp_path / "name", run_id="first")
    assert run.manifest.training.learning_rate == 0.5
    run_id = imported.said[0].split()[1]
    for number, asked in enumerate((run_id, run_id[:12])):
        again, _ = brought_in(store, tmp_path / str(number), run_id=asked)
        assert again.manifest.training.learning_rate == 0.5


def test_the_last_run_is_taken_and_the_others_are_said(written, tmp_path):
    run, imported = brought_in(written("mlflow") / "database", tmp_path / "run")
    assert run.manifest.training.learning_rate == 0.1
    assert "one other run (--run-id takes another than the last)" in imported.left


def test_an_unknown_run_is_named_with_those_that_are_there(store, tmp_path):
    with pytest.raises(UsageError, match=r"no runs are called nobody; the last ones are .*\(second\)"):
        brought_in(store, tmp_path / "run", run_id="nobody")


def test_logits_among_the_artifacts_are_taken(written, tmp_path):
    run, imported = brought_in(written("mlflow") / "mlruns", tmp_path / "run")
    assert "(third)" in imported.said[0]
    assert run.splits == ("val",)
    assert run.manifest.num_classes == 3


def test_the_directory_of_one_run_and_of_its_experiment_are_sources(written, tmp_path):
    (experiment,) = (path for path in (written("mlflow") / "mlruns").iterdir() if path.name == "0")
    one = next(path for path in experiment.iterdir() if (path / "params/lr").exists())
    for number, path in enumerate((experiment, one)):
        run, _ = brought_in(path, tmp_path / str(number), run_id="first" if path == experiment else None)
        assert len(curve(run, "loss")) == 6


def test_deleted_runs_are_not_there(written, tmp_path):
    file = shutil.copy(written("mlflow") / "database/mlflow.db", tmp_path)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
    database.close()
    with pytest.raises(UsageError, match="holds no run of MLflow that was not deleted"):
        brought_in(tmp_path / "mlflow.db", tmp_path / "run")


def test_the_database_is_not_written_to(written, tmp_path):
    file = written("mlflow") / "database/mlflow.db"
    before = file.read_bytes(), sorted(path.name for path in file.parent.iterdir())
    brought_in(file, tmp_path / "run")
    assert (file.read_bytes(), sorted(path.name for path in file.parent.iterdir())) == before


def test_a_view_that_never_ends_is_given_up(written, tmp_path, monkeypatch):
    file = shutil.copy(written("mlflow") / "database/mlflow.db", tmp_path)
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE metrics")
        database.execute(
            "CREATE VIEW metrics AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT 'loss' AS key, i AS value, i AS step, 0 AS is_nan, 0 AS timestamp, 'x' AS run_uuid FROM n"
        )
    database.close()
    monkeypatch.setattr(mlflow_database, "MOST_STEPS", 3_000_000)
    with pytest.raises(RunError, match=r"mlflow.db: cannot be read as MLflow's database: interrupted"):
        mlflow_database.Database(tmp_path / "mlflow.db").metrics(MlflowRun("x", "", 0))


def test_a_metric_that_is_no_number_is_named_with_its_line(written, tmp_path):
    root = shutil.copytree(written("mlflow") / "mlruns", tmp_path / "mlruns")
    for file in root.glob("0/*/metrics/train/loss"):
        file.write_text("1 0.5 0\n1 half 1\n")
    with pytest.raises(RunError, match=r"metrics/train/loss: line 2 is '1 half 1'; expected timestamp, value and step"):
        brought_in(root, tmp_path / "run")
