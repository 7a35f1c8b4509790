"""``assert_healthy``: the whole diagnosis as one assertion."""

from collections.abc import Sequence

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.rules.registry import all_rules
from kddoctor.testing.given import RunOrPath, opened
from kddoctor.testing.hiding import ending_at_the_caller
from kddoctor.testing.verdicts import failing, told


@ending_at_the_caller
def assert_healthy(
    run: RunOrPath | Diagnosis,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    allow_inconclusive: bool = False,
) -> None:
    """Fail unless the diagnosis calls the run healthy.

    run: a run, its directory, or a diagnosis that was made already. select, ignore: codes or prefixes of codes.
    allow_inconclusive: let a run pass of which nothing bad is known; without it, a thin record is no pass.
    """
    found = run if isinstance(run, Diagnosis) else _diagnosed(run, select, ignore)
    results = failing(found)
    if results:
        raise AssertionError(told(f"{found.run} is sick: {found.summary}", results))
    if found.verdict != "healthy" and not allow_inconclusive:
        lines = [f"{found.run} cannot be called healthy: {found.summary}"]
        lines += [f"  to get an answer: {advice}" for advice in found.advice]
        raise AssertionError("\n".join(lines))


def _diagnosed(run: RunOrPath, select: Sequence[str], ignore: Sequence[str]) -> Diagnosis:
    ignored = {code for code in all_rules() if ignore and code.startswith(tuple(ignore))}
    return diagnose(opened(run), select=select, ignore=ignored)
