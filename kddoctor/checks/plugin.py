"""The pytest plugin, loaded with the package and silent unless it is asked.

    pytest --kd-run runs/mobile-kd        # one item for each rule
    pytest -k KD201 --kd-run …            # all of pytest's own options work

Nothing heavy is imported before a run is to be examined.
"""

from pathlib import Path
from typing import Any

import pytest

from kddoctor.checks import fixtures
from kddoctor.checks.fixtures import kd_diagnosis, kd_run, runs_given, runs_on_command_line
from kddoctor.checks.items import MANIFEST_FILE, MARKER, Check, RecordedRun
from kddoctor.checks.sharing import checks_at, hear_controller, is_worker, tell_worker
from kddoctor.checks.tally import Tally
from kddoctor.errors import KDDoctorError

__all__ = ["kd_diagnosis", "kd_run"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--kd-run, and two options of the ini file."""
    group = parser.getgroup("kddoctor", "health checks of recorded distillations")
    group.addoption(
        "--kd-run",
        action="append",
        default=[],
        metavar="RUN_DIR",
        help="Check a recorded run: one item for each rule, beside the tests that are collected. Can be given again.",
    )
    parser.addini("kd_collect", f"collect every {MANIFEST_FILE} below the paths of the tests", "bool", False)
    parser.addini("kd_runs", "recorded runs for the fixtures kd_run and kd_diagnosis", "paths", [])


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and listen where reports arrive."""
    config.addinivalue_line("markers", f"{MARKER}: a health check of a recorded run")
    config.addinivalue_line("markers", "kd_run(path, …): recorded runs for the fixtures kd_run and kd_diagnosis")
    if is_worker(config):
        hear_controller(config)
    else:
        config.pluginmanager.register(Tally(config), "kddoctor-tally")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Examine the runs of the command line, before xdist's workers start. A broken one is bad usage."""
    for path in runs_on_command_line(session.config):
        try:
            checks_at(session.config, path)
        except KDDoctorError as error:
            raise pytest.UsageError(f"--kd-run: {error}") from None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: what was examined here need not be examined again by each worker."""
    tell_worker(node.config, node.workerinput)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which runs, and whose thresholds."""
    found = [(path, checks_at(config, path)) for path in runs_on_command_line(config)]
    return [f"kddoctor: {path} (thresholds: {checks.thresholds})" for path, checks in found]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A kd_run.yaml that is named itself, or lies below the tests where the ini file asks for it."""
    if file_path.name != MANIFEST_FILE:
        return None
    asked = parent.config.getini("kd_collect") or parent.session.isinitpath(file_path)
    return RecordedRun.at(parent, file_path.parent) if asked else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the command line's runs, before anything is deselected."""
    wanted = runs_on_command_line(config)
    if config.getini("kd_collect"):
        wanted = runs_given(config)
    there = {item.path.parent for item in items if isinstance(item, Check)}
    for path in wanted:
        if path not in there:
            # Below the session and no directory: a conftest.py in a run directory is nobody's code to run.
            items.extend(session.genitems(RecordedRun.at(session, path)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a run is run for each that was given."""
    fixtures.parametrize(metafunc)
