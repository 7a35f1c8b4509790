"""Faults that somebody has accepted: expected failures, with a reason and a last day, that have to occur."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date

from kddoctor.checks.results import CheckResult, Outcome
from kddoctor.policy import Accepted, Policy

FAILED, PASSED, XFAILED = Outcome.FAILED, Outcome.PASSED, Outcome.XFAILED


def under_acceptance(result: CheckResult, policy: Policy, run: str, today: date) -> CheckResult:
    """The check, where its code is accepted in this run (by its directory's name).

    A fault that occurs is expected until the last day, and fails from then on. One that does not occur fails: nobody
    would notice its return. What could not be judged stays skipped.
    """
    known = _about(policy, result.code, run)
    if not known:
        return result
    holding = next((acceptance for acceptance in known if not acceptance.expired(today)), None)
    if result.outcome is PASSED and not result.watch:
        reason = f"unexpectedly passed: {known[0]}; take the entry out of {policy.source}"
        return replace(result, outcome=FAILED, reason=reason, wanted="", where="")
    if result.outcome not in (FAILED, PASSED):
        return result
    if holding is not None:
        return replace(result, outcome=XFAILED, reason=str(holding))
    if result.outcome is PASSED:
        return result
    ended = known[0]
    return replace(result, reason=f"accepted until {ended.expires} and no longer ({ended.reason}); {result.headline}")


def unused(results: Iterable[CheckResult], policy: Policy, run: str) -> Iterator[str]:
    """Acceptances for this run that accept nothing, one line each; those that make a check fail say so there."""
    outcomes = {result.code: result.outcome for result in results}
    for acceptance in policy.accepted:
        if acceptance.concerns(acceptance.code, run) and outcomes.get(acceptance.code) not in (FAILED, XFAILED):
            why = (
                "its check is not among those chosen" if acceptance.code not in outcomes else "its check found nothing"
            )
            if outcomes.get(acceptance.code) is Outcome.SKIPPED:
                why = "its check was skipped"
            yield f"{acceptance} ({policy.source}): not used, {why}"


def _about(policy: Policy, code: str, run: str) -> list[Accepted]:
    return [acceptance for acceptance in policy.accepted if acceptance.concerns(code, run)]
