"""Logs two runs to each of MLflow's stores. ``python -m tests.importers.tools.mlflow DIRECTORY``.

DIRECTORY/mlruns is a file store, with logits as artifacts of its last run; DIRECTORY/database/mlflow.db the database.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

import mlflow
import numpy as np


def main(directory: str) -> None:
    root = Path(directory)
    database = root / "database"
    database.mkdir(parents=True)
    os.chdir(database)
    for address in (f"sqlite:///{database / 'mlflow.db'}", f"file:{root / 'mlruns'}"):
        mlflow.set_tracking_uri(address)
        for name, rate in (("first", 0.5), ("second", 0.1)):
            with mlflow.start_run(run_name=name):
                mlflow.log_params({"lr": rate, "temperature": 4.0, "model/num_classes": 3})
                for step in range(4):
                    mlflow.log_metrics({"train/loss": 1 / (step + 1), "val_accuracy": step / 10}, step=step)
                mlflow.log_metric("train/loss", float("nan"), step=4)
                mlflow.log_metric("train/loss", float("inf"), step=5)
    mlflow.set_tracking_uri(f"file:{root / 'mlruns'}")
    with mlflow.start_run(run_name="third"), tempfile.TemporaryDirectory() as folder:
        mlflow.log_metric("train/loss", 1.0, step=0)
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(40, 3)).astype(np.float32)
        file = Path(folder) / "predictions.npz"
        np.savez(file, labels=logits.argmax(1), teacher_logits=3 * logits, student_logits=logits)
        mlflow.log_artifact(str(file))


if __name__ == "__main__":
    main(sys.argv[1])
