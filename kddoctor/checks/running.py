"""All checks of one run directory: what ``kddoctor check`` and the pytest plugin both call."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from kddoctor.baselines import compare, read_baseline
from kddoctor.checks.acceptance import unused
from kddoctor.checks.examining import examine
from kddoctor.checks.judging import checks_of
from kddoctor.checks.regressing import checks_against, gate_of
from kddoctor.checks.results import RunChecks
from kddoctor.policy import Policy
from kddoctor.run.directory import load


def check_run(
    path: Path,
    policy: Policy,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    require: Sequence[str] = (),
    today: date | None = None,
) -> RunChecks:
    """Load, diagnose and judge. select, ignore: codes or prefixes, in place of the policy's; require: beside them.

    today: what acceptances and the baseline are held against. Raises RunError, in one line, for a directory that cannot
    be read, and UsageError for a baseline of the policy that cannot be compared with.
    """
    policy = replace(
        policy,
        select=tuple(select) or policy.select,
        ignore=tuple(ignore) or policy.ignore,
        require=(*policy.require, *require),
    )
    today = today or date.today()
    run = load(path)
    held = policy.held_against(run.name)
    baseline = None if held is None else read_baseline(held.file)  # a broken one is refused before anything is measured
    examined = examine(run, policy)
    results = checks_of(examined, policy, today)
    diagnosis = examined.diagnosis
    regressions = None
    if held is not None and baseline is not None:
        regressions = compare(run, diagnosis, baseline, gate_of(held), today=today)
        results = (*results, *checks_against(regressions))
    return RunChecks(
        run=diagnosis.run,
        diagnosis=diagnosis.to_json(),
        results=results,
        thresholds="the defaults" if policy.file is None else policy.source,
        unused=tuple(unused(results, policy, diagnosis.run)),
        warnings=diagnosis.warnings,
        regressions=regressions,
    )
