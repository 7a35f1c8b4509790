"""From a diagnosis to checks: which fail, and which only could not be judged.

A cause fails; what it explains is skipped with a word of where to look, so that one fault fails one check. A suspicion
passes and is reported: it is too little to stop anybody. What was looked at without an answer is skipped, and so is
what was not recorded. A rule that crashes is an error, never a pass.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from kddoctor.checks.acceptance import under_acceptance
from kddoctor.checks.examining import Examined
from kddoctor.checks.results import CheckResult, Outcome
from kddoctor.engine.diagnosis import EvidenceReport, FindingReport
from kddoctor.errors import one_line
from kddoctor.policy import Policy
from kddoctor.rules.finding import Evidence, Grade
from kddoctor.rules.registry import Rule, all_rules

UNDECIDED = "examined, but neither shown nor ruled out"
#: Severities that fail a check, by the mildest that the policy lets fail.
FAILING = {"error": ("error",), "warning": ("error", "warning")}


def checks_of(examined: Examined, policy: Policy, today: date) -> tuple[CheckResult, ...]:
    """One check for each chosen rule that this kind of task can have, in the order of the codes.

    What the policy requires fails where it would be skipped.
    """
    run = examined.diagnosis.run
    results = [under_acceptance(result, policy, run, today) for result in _judged(examined, policy)]
    results = [_required(result) if result.code.startswith(policy.require) else result for result in results]
    results += [_left_out(code) for code in policy.require if code in all_rules() and code not in examined.rules]
    return tuple(sorted(results, key=lambda result: result.code))


def _judged(examined: Examined, policy: Policy) -> Iterable[CheckResult]:
    diagnosis, rules = examined.diagnosis, examined.rules
    for code, crash in examined.crashes.items():
        yield _result(rules[code], Outcome.ERROR, reason=crash)
    for report in diagnosis.findings:
        yield of_finding(report, policy)
    for code in diagnosis.ruled_out:
        opposing = examined.findings[code].opposing
        best = max(opposing, key=lambda item: (item.grade, item.weight), default=None)
        yield _with_numbers(_result(rules[code], Outcome.PASSED), best)
    for code in diagnosis.undecided:
        yield _result(rules[code], Outcome.SKIPPED, reason=UNDECIDED)
    for missing in diagnosis.not_examined:
        yield _result(rules[missing.code], Outcome.SKIPPED, reason=f"not examined: {missing.how}")


def of_finding(report: FindingReport, policy: Policy | None = None) -> CheckResult:
    """The check of a code that was found: a cause, a symptom or a suspicion."""
    policy, rule = policy or Policy(), all_rules()[report.code]
    if report.role == "symptom":
        return _result(rule, Outcome.SKIPPED, reason=f"explained by {report.explained_by}, see there")
    grave = report.severity in FAILING[policy.fail_on] and report.confidence >= policy.confidence
    fails = report.role == "cause" and grave
    result = _result(
        rule,
        Outcome.FAILED if fails else Outcome.PASSED,
        summary=report.summary,
        wanted="" if report.prescription is None else report.prescription.summary,
        where=report.where or "",
        watch="" if fails else f"{report.title} ({report.severity}, confidence {report.confidence:.2f})",
    )
    supporting = [item for item in report.evidence if item.supports]
    return _with_numbers(result, max(supporting, key=lambda item: Grade[item.grade.upper()], default=None))


def _required(result: CheckResult) -> CheckResult:
    if result.outcome is not Outcome.SKIPPED:
        return result
    return replace(result, outcome=Outcome.FAILED, reason=f"required, but {result.reason}")


def _left_out(code: str) -> CheckResult:
    rule = all_rules()[code]
    why = f" or the task is none of {', '.join(rule.only)}" if rule.only else ""
    return _result(rule, Outcome.FAILED, reason=f"required, but it is not among the checks: it was not chosen{why}")


def _with_numbers(result: CheckResult, best: Evidence | EvidenceReport | None) -> CheckResult:
    """With the strongest measurement."""
    if best is None:
        return result
    # Rules may give numpy's numbers, which neither JSON nor xdist carries.
    value, threshold = (None if number is None else float(number) for number in (best.value, best.threshold))
    return replace(result, detail=one_line(best.text), measure=best.measure, value=value, threshold=threshold)


def _result(rule: Rule, outcome: Outcome, **texts: str) -> CheckResult:
    lines = {key: one_line(text) for key, text in texts.items()}
    return CheckResult(rule.code, rule.name, rule.family, rule.title, outcome, **lines)  # type: ignore[arg-type]
