"""What pytest's own summary does not say: suspicions, warnings, and runs of which nothing could be said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kddoctor.checks.sharing import all_checked


class Tally:
    """Listens to the reports of all checks, from whichever worker they come."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.judged: dict[str, bool] = {}
        self.watched: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a check of a run."""
        facts = dict(report.user_properties)
        run = facts.get("kd_run")
        if not isinstance(run, str):
            return
        # A skip is reported in setup alone; a check that ran has a call, or failed before it.
        judged = (report.when == "call" and (not report.skipped or hasattr(report, "wasxfail"))) or report.failed
        self.judged[run] = self.judged.get(run, False) or judged
        if report.when == "call" and "kd_watch" in facts:
            self.watched.append(f"{self._shown(run)}: {facts['kd_code']} {facts['kd_watch']}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A session whose checks could say nothing of a run has not passed."""
        if self._silent() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The lines, under a heading of their own."""
        lines = list(self._lines())
        if lines:
            terminalreporter.section("kddoctor")
        for line in lines:
            terminalreporter.write_line(line)

    def _lines(self) -> Iterator[str]:
        for run in self._silent():
            yield f"{self._shown(run)}: no check could run, so nothing passed; -rs says what to record"
        for line in sorted(self.watched):
            yield f"worth watching  {line}"
        for path, checks in all_checked(self.config).items():
            for line in (*checks.warnings, *checks.unused):
                yield f"{self._shown(str(path))}: {line}"

    def _silent(self) -> list[str]:
        empty = {str(path) for path, checks in all_checked(self.config).items() if not checks.results}
        return sorted(empty | {run for run, judged in self.judged.items() if not judged})

    def _shown(self, run: str) -> str:
        path = Path(run)
        root = self.config.invocation_params.dir
        return str(path.relative_to(root)) if path.is_relative_to(root) else run
