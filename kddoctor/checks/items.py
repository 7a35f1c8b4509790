"""A recorded run as pytest collects it: run, family, check."""

from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any

import pytest

from kddoctor.checks.results import CheckResult, Outcome, by_family
from kddoctor.checks.sharing import checks_at
from kddoctor.errors import KDDoctorError

MANIFEST_FILE = "kd_run.yaml"
#: Marks every check, so that ``-m kddoctor`` chooses them.
MARKER = "kddoctor"


class CheckFailedError(Exception):
    """Raised by a check that fails, and shown as its two lines."""


class CheckCrashedError(Exception):
    """Raised before a check whose rule crashed, so that pytest counts an error and not a failure."""


class RecordedRun(pytest.Collector):
    """A run directory, by its kd_run.yaml. No conftest.py of the run is ever looked for."""

    @classmethod
    def at(cls, parent: pytest.Collector, path: Path) -> "RecordedRun":
        """path: of the directory. Its node id is relative to pytest's root, also where it lies outside."""
        manifest = path / MANIFEST_FILE
        try:
            nodeid = relpath(manifest, parent.config.rootpath).replace("\\", "/")
        except ValueError:  # another drive
            nodeid = manifest.as_posix()
        run: RecordedRun = cls.from_parent(parent, name=nodeid, path=manifest, nodeid=nodeid)
        return run

    def collect(self) -> Iterator["Family"]:
        """One node a family, in the order of its first code."""
        try:
            results = checks_at(self.config, self.path.parent).results
        except KDDoctorError as error:
            raise self.CollectError(str(error)) from None
        for family, members in by_family(results):
            yield Family.from_parent(self, name=family, results=members)


class Family(pytest.Collector):
    """The checks of one family."""

    def __init__(self, *, results: tuple[CheckResult, ...], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.results = results

    def collect(self) -> Iterator["Check"]:
        """One item a check."""
        for result in self.results:
            # As text, which pytest takes apart as it does those that --lf has kept: brackets are no part of a name.
            yield Check.from_parent(self, name=result.id, nodeid=f"{self.nodeid}::{result.id}", result=result)


class Check(pytest.Item):
    """One check; its judgement has been made when it is collected, so that it costs nothing to run."""

    def __init__(self, *, result: CheckResult, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.result = result
        self.add_marker(MARKER)
        # Keywords and no markers: a marker for each code would have to be registered under --strict-markers.
        self.extra_keyword_matches.update((result.code, result.name, result.family))
        self.user_properties += [("kd_run", str(self.path.parent)), *result.properties()]
        if result.outcome is Outcome.SKIPPED:
            self.add_marker(pytest.mark.skip(reason=result.reason))
        elif result.outcome is Outcome.XFAILED:
            self.add_marker(pytest.mark.xfail(reason=result.reason, strict=True))

    def setup(self) -> None:
        """Raise what the rule could not cope with."""
        if self.result.outcome is Outcome.ERROR:
            raise CheckCrashedError(self.result.headline)

    def runtest(self) -> None:
        """Fail where the run has the fault."""
        if self.result.outcome in (Outcome.FAILED, Outcome.XFAILED):
            raise CheckFailedError(self.result.message)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *arguments: Any, **style: Any) -> Any:
        """Two lines for a failed check, one for a crashed one."""
        if isinstance(excinfo.value, CheckFailedError | CheckCrashedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *arguments, **style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands, and the heading of its failure."""
        return self.path, 0, f"{self.result.code} {self.result.place}"
