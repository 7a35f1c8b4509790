"""A run's log as the Hugging Face Trainer writes it, for tools that read nothing else."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

Row = Mapping[str, Any]

#: Entries of a whole run. The Trainer logs means over several steps; read step by step, the noise of single batches
#: would make these tools see divergence in sound runs.
ENTRIES = 50
#: The Trainer's name of each scalar, on training rows and on others.
TRAINING = {"loss": "loss", "lr": "learning_rate", "grad_norm": "grad_norm", "epoch": "epoch"}
EVALUATION = {"loss": "eval_loss", "student_accuracy": "eval_accuracy", "agreement": "eval_agreement", "epoch": "epoch"}


@contextmanager
def trainer_state(metrics: Sequence[Row]) -> Iterator[Path]:
    """A file trainer_state.json that is gone afterwards. NaN and infinity stay what they are."""
    rows = [{"step": number} | dict(row) for number, row in enumerate(metrics)]
    train = [row for row in rows if row.get("split", "train") == "train"]
    interval = max(1, len(train) // ENTRIES)
    history = [_averaged(train[at : at + interval]) for at in range(0, len(train), interval)]
    history += [_entry(row, EVALUATION) for row in rows if row.get("split", "train") != "train"]
    history.sort(key=lambda entry: entry["step"])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trainer_state.json"
        path.write_text(json.dumps({"log_history": history}), "utf-8")
        yield path


def _averaged(rows: Sequence[Row]) -> dict[str, Any]:
    """One entry for several steps: the mean of their losses, and the rest as it was at the last of them."""
    losses = [row["loss"] for row in rows if isinstance(row.get("loss"), int | float)]
    with np.errstate(all="ignore"):  # a mean of infinities is the news that the reader is to see
        mean = {"loss": float(np.mean(losses))} if losses else {}
    return _entry(rows[-1], TRAINING) | mean


def _entry(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    return {"step": row["step"]} | {names[key]: row[key] for key in names if isinstance(row.get(key), int | float)}
