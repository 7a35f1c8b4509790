"""MLflow's SQLite store: the tables runs, metrics and params of mlflow.db."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError
from kddoctor.importers.mlflow_runs import Logged, MlflowRun

DATABASE = "mlflow.db"
#: Rows that are read, and steps of SQLite's machine: the file may hold views that never end.
MOST_ROWS, MOST_STEPS = 5_000_000, 2_000_000_000
#: SQLite has no infinity; MLflow writes the largest float.
LARGEST = 1.7976931348623157e308


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database with MLflow's tables."""
    try:
        if not path.is_file():  # to open a pipe would be to wait for whoever writes to it
            return False
        with path.open("rb") as stream:
            if stream.read(16) != b"SQLite format 3\0":
                return False
        with _opened(path) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, ValueError, sqlite3.Error):
        return False
    return {"runs", "metrics", "params"} <= names


class Database:
    """Reads one mlflow.db. Methods raise RunError where it is not MLflow's or not whole."""

    kind = "SQLite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def runs(self) -> list[MlflowRun]:
        """Runs that were not deleted."""
        rows = self._all("SELECT run_uuid, name, start_time FROM runs WHERE lifecycle_stage = 'active' LIMIT ?")
        return [MlflowRun(str(i), str(name or ""), int(start or 0)) for i, name, start in rows]

    def metrics(self, run: MlflowRun) -> list[Logged]:
        """What the run logged."""
        query = "SELECT key, value, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY step, timestamp LIMIT ?"
        return [
            Logged(str(key), int(step), math.nan if is_nan else _finite_or_infinite(float(value)))
            for key, value, step, is_nan in self._all(query, run.id)
        ]

    def parameters(self, run: MlflowRun) -> dict[str, object]:
        """The run's parameters, as text."""
        return dict(self._all("SELECT key, value FROM params WHERE run_uuid = ? LIMIT ?", run.id))

    def artifacts(self, run: MlflowRun) -> Path | None:
        """The run's artifacts where they lie beside the database, in MLflow's default place."""
        for folder in sorted(self.path.parent.glob(f"mlruns/*/{run.id}/artifacts")):
            if folder.is_dir() and folder.resolve().is_relative_to(self.path.parent.resolve()):
                return folder
        return None

    def _all(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            with _opened(self.path) as database:
                return database.execute(query, (*values, MOST_ROWS)).fetchall()
        except (sqlite3.Error, OverflowError, ValueError, TypeError) as error:
            raise RunError.plain(f"{self.path.name}: cannot be read as MLflow's database: {error}.") from None


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    address = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        database.execute("PRAGMA trusted_schema = OFF")
        steps = iter(range(MOST_STEPS // 1_000_000))
        database.set_progress_handler(lambda: next(steps, None) is None, 1_000_000)
        yield database


def _finite_or_infinite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= LARGEST else value
