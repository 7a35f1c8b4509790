"""MLflow's stores, read without MLflow: the directory mlruns, and the database mlflow.db."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kddoctor.errors import UsageError
from kddoctor.importers.found import Found, Given
from kddoctor.importers.metric_names import accuracy_as_share, counted, meanings, rows_of, summary
from kddoctor.importers.mlflow_database import DATABASE, Database, is_database
from kddoctor.importers.mlflow_files import FileStore, is_store
from kddoctor.importers.mlflow_runs import Logged, MlflowRun
from kddoctor.importers.setting_names import in_words, settings_of
from kddoctor.run.metrics import Row
from kddoctor.run.paths import file_inside


def recognises(path: Path) -> bool:
    """mlruns, one of its experiments or runs, mlflow.db, or a directory that holds one of them."""
    return _database(path) is not None or any(map(is_store, (path, path / "mlruns")))


def read(path: Path, given: Given) -> Found:
    """Metrics and parameters of the run that is asked for, or of the last one that was started."""
    store = _store(path)
    runs = store.runs()
    run = _chosen(runs, given.run_id, path)
    rows, note = accuracy_as_share(_rows(store.metrics(run)))
    parameters = store.parameters(run)
    settings = settings_of(parameters, "parameters")
    others = len(runs) - 1
    return Found(
        kind=f"MLflow ({store.kind})",
        folder=store.artifacts(run),
        settings=settings,
        metrics=rows,
        said=(
            f"run {run.id}{f' ({run.name})' if run.name else ''}: {summary(rows)}",
            *([note] if note else []),
            f"{counted(len(parameters), 'parameter')}: {in_words(settings)}",
        ),
        left=(f"{counted(others, 'other run')} (--run-id takes another than the last)",) if others else (),
    )


def _store(path: Path) -> Database | FileStore:
    file = _database(path)
    if file is not None:
        return Database(file)
    return FileStore(path if is_store(path) else path / "mlruns")


def _database(path: Path) -> Path | None:
    file = file_inside(path, DATABASE) if path.is_dir() else path
    return file if file is not None and is_database(file) else None


def _chosen(runs: Sequence[MlflowRun], asked: str | None, path: Path) -> MlflowRun:
    if not runs:
        raise UsageError(f"{path}: holds no run of MLflow that was not deleted.")
    last_first = sorted(runs, key=lambda run: (run.start, run.id), reverse=True)
    if asked is None:
        return last_first[0]
    named = [run for run in last_first if asked in (run.id, run.name)] or [
        run for run in last_first if run.id.startswith(asked)
    ]
    if len(named) == 1:
        return named[0]
    held = ", ".join(f"{run.id} ({run.name})" if run.name else run.id for run in last_first[:5])
    raise UsageError(f"{path}: {len(named) or 'no'} runs are called {asked}; the last ones are {held}.")


def _rows(logged: Sequence[Logged]) -> list[Row]:
    names = meanings({one.key for one in logged})
    by_step: dict[int, dict[str, float]] = {}
    for one in logged:
        by_step.setdefault(one.step, {})[one.key] = one.value
    return [row for step in sorted(by_step) for row in rows_of(by_step[step], names, step=step)]
