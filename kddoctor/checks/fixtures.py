"""Fixtures for tests of a user's own that look at a recorded run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kddoctor.checks.sharing import checks_at, in_order
from kddoctor.errors import KDDoctorError

if TYPE_CHECKING:
    from kddoctor.engine import Diagnosis
    from kddoctor.run import Run

NO_RUN = (
    "no run was given to the fixture kd_run: start pytest with --kd-run RUN_DIR, set kd_runs in its ini file, or mark "
    "the test with @pytest.mark.kd_run(RUN_DIR)"
)


@pytest.fixture(scope="session")
def kd_run(request: pytest.FixtureRequest) -> "Run":
    """The recorded run of ``--kd-run``, of the ini option ``kd_runs`` or of ``@pytest.mark.kd_run(path)``."""
    from kddoctor.run import load

    path = getattr(request, "param", None) or next(iter(runs_given(request.config)), None)
    if path is None:
        pytest.fail(NO_RUN, pytrace=False)
    try:
        return load(path)
    except KDDoctorError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def kd_diagnosis(kd_run: "Run", request: pytest.FixtureRequest) -> "Diagnosis":
    """The diagnosis of ``kd_run``."""
    from kddoctor.engine import Diagnosis

    try:
        return Diagnosis.model_validate_json(checks_at(request.config, kd_run.path).diagnosis)
    except KDDoctorError as error:
        pytest.fail(str(error), pytrace=False)


def runs_on_command_line(config: pytest.Config) -> list[Path]:
    """Directories of ``--kd-run``, absolute."""
    return in_order(config.invocation_params.dir.joinpath(path).resolve() for path in config.getoption("kd_run"))


def runs_given(config: pytest.Config) -> list[Path]:
    """Directories of ``--kd-run``; without any, those of the ini option ``kd_runs``."""
    return runs_on_command_line(config) or in_order(path.resolve() for path in config.getini("kd_runs"))


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a run once for each run that was given."""
    if "kd_run" not in metafunc.fixturenames:
        return
    config = metafunc.config
    marker = metafunc.definition.get_closest_marker("kd_run")
    paths: Sequence[Path] = runs_given(config)
    if marker is not None:
        paths = in_order(config.rootpath.joinpath(path).resolve() for path in marker.args)
    if marker is not None or len(paths) > 1:
        metafunc.parametrize("kd_run", paths, ids=[path.name for path in paths], indirect=True, scope="session")
