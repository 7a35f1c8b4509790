"""How an assertion words what the rules found."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from kddoctor.checks.judging import of_finding
from kddoctor.checks.results import CheckResult, Outcome
from kddoctor.engine.diagnosis import Diagnosis, judge
from kddoctor.engine.types import Outcome as RunOutcome
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations


def judged(manifest: Manifest, rows: int, measurement: object, codes: Collection[str]) -> Diagnosis:
    """A diagnosis, by these codes alone, of a measurement that comes from no run."""
    unknown = RunOutcome("accuracy", "val", rows, None, None, None, None, None, 0.0, None)
    own = {Manifest: manifest, Observations: Observations(), RunOutcome: unknown, type(measurement): measurement}
    return judge("measurements", own, select=tuple(codes))


def failing(diagnosis: Diagnosis) -> tuple[CheckResult, ...]:
    """Causes that fail a check, the most likely first."""
    results = (of_finding(report) for report in diagnosis.findings)
    return tuple(result for result in results if result.outcome is Outcome.FAILED)


def told(headline: str, results: Iterable[CheckResult], *, placed: bool = True) -> str:
    """The headline, and under it each finding with its measurement, place and remedy.

    placed: whether the places are those of a run; what a test has at hand lies nowhere.
    """
    lines = [headline]
    for result in results if placed else [replace(result, where="") for result in results]:
        lines.append(f"  {result.code} {result.name}: {result.summary or result.title}")
        lines += [f"      {line}" for line in (result.headline, *result.advice)]
    return "\n".join(lines)


def silent(diagnosis: Diagnosis, codes: Collection[str]) -> str | None:
    """Why none of these codes could be judged; None where one could."""
    spoken = {report.code for report in diagnosis.findings} | set(diagnosis.ruled_out)
    if spoken & set(codes):
        return None
    how = [f"{missing.code}: {missing.how}" for missing in diagnosis.not_examined if missing.code in codes]
    how += [f"{code}: examined, but neither shown nor ruled out" for code in diagnosis.undecided if code in codes]
    return "; ".join(how) or f"a task of this kind has none of {', '.join(codes)}"
