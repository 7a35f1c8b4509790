"""A run's log as the Hugging Face Trainer writes it, for tools that read nothing else."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

Row = Mapping[str, Any]

#: The Trainer's name of each scalar, on training rows and on others.
TRAINING = {"loss": "loss", "lr": "learning_rate", "grad_norm": "grad_norm", "epoch": "epoch"}
EVALUATION = {"loss": "eval_loss", "student_accuracy": "eval_accuracy", "agreement": "eval_agreement", "epoch": "epoch"}


@contextmanager
def trainer_state(metrics: Sequence[Row]) -> Iterator[Path]:
    """A file trainer_state.json that is gone afterwards. NaN and infinity stay what they are."""
    history = [entry for number, row in enumerate(metrics) if len(entry := _entry(row, number)) > 1]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trainer_state.json"
        path.write_text(json.dumps({"log_history": history}), "utf-8")
        yield path


def _entry(row: Row, number: int) -> dict[str, Any]:
    names = TRAINING if row.get("split", "train") == "train" else EVALUATION
    found = {names[key]: row[key] for key in names if isinstance(row.get(key), int | float)}
    return {"step": row.get("step", number)} | found
