"""The checks of a session: each run is examined once, and xdist's workers are told what was found."""

import dataclasses
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from kddoctor.checks.results import CheckResult, Outcome, RunChecks

CHECKED = pytest.StashKey[dict[Path, RunChecks]]()
#: Under which xdist's workers are given what the controller found.
WORKER_INPUT = "kddoctor"


def checks_at(config: pytest.Config, path: Path) -> RunChecks:
    """The checks of a run directory. Raises RunError, in one line, where it cannot be read."""
    known = config.stash.setdefault(CHECKED, {})
    if path not in known:
        from kddoctor.checks.running import check_run
        from kddoctor.policy import read_policy

        with warnings.catch_warnings():
            # -W error is about the user's code: a word from numpy must not turn a check into an error.
            warnings.simplefilter("ignore")
            known[path] = check_run(path, read_policy(config.invocation_params.dir))
    return known[path]


def all_checked(config: pytest.Config) -> dict[Path, RunChecks]:
    """Every run that was examined so far."""
    return config.stash.get(CHECKED, {})


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of xdist's workers."""
    return hasattr(config, "workerinput")


def tell_worker(config: pytest.Config, workerinput: dict[str, Any]) -> None:
    """Give a worker the results, as text."""
    told = {str(path): dataclasses.replace(checks, regressions=None) for path, checks in all_checked(config).items()}
    found = {path: dataclasses.asdict(checks) for path, checks in told.items()}
    workerinput[WORKER_INPUT] = json.dumps(found)


def hear_controller(config: pytest.Config) -> None:
    """Take the results that the controller gave."""
    told: dict[str, dict[str, Any]] = json.loads(getattr(config, "workerinput", {}).get(WORKER_INPUT, "{}"))
    config.stash[CHECKED] = {Path(path): _read(fields) for path, fields in told.items()}


def _read(fields: dict[str, Any]) -> RunChecks:
    results = (CheckResult(**{**result, "outcome": Outcome(result["outcome"])}) for result in fields.pop("results"))
    return RunChecks(**_tuples(fields), results=tuple(results))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Each path once."""
    return list(dict.fromkeys(paths))
