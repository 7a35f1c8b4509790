"""From a diagnosis to checks: which fail, and which only could not be judged.

A cause fails; what it explains is skipped with a word of where to look, so that one fault fails one check. A suspicion
passes and is reported: it is too little to stop anybody. What was looked at without an answer is skipped, and so is
what was not recorded. A rule that crashes is an error, never a pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kddoctor.checks.examining import Examined
from kddoctor.checks.results import CheckResult, Outcome
from kddoctor.engine.diagnosis import FindingReport
from kddoctor.errors import one_line
from kddoctor.rules.finding import Evidence
from kddoctor.rules.registry import Rule, all_rules

UNDECIDED = "examined, but neither shown nor ruled out"


def checks_of(examined: Examined, *, require: Sequence[str] = ()) -> tuple[CheckResult, ...]:
    """One check for each rule that this kind of task can have, in the order of the codes.

    require: codes or prefixes that have to be judged: skipped, they fail.
    """
    results = list(_judged(examined))
    present = {result.code for result in results}
    results = [_required(result) if result.code.startswith(tuple(require)) else result for result in results]
    results += [_left_out(code, examined.task) for code in require if code in all_rules() and code not in present]
    return tuple(sorted(results, key=lambda result: result.code))


def _judged(examined: Examined) -> Iterable[CheckResult]:
    diagnosis, rules = examined.diagnosis, all_rules()
    for code, crash in examined.crashes.items():
        yield _result(rules[code], Outcome.ERROR, reason=crash)
    for report in diagnosis.findings:
        yield _of_finding(examined, report)
    for code in diagnosis.ruled_out:
        yield _with_numbers(_result(rules[code], Outcome.PASSED), examined.findings[code].opposing)
    for code in diagnosis.undecided:
        yield _result(rules[code], Outcome.SKIPPED, reason=UNDECIDED)
    for missing in diagnosis.not_examined:
        yield _result(rules[missing.code], Outcome.SKIPPED, reason=f"not examined: {missing.how}")


def _of_finding(examined: Examined, report: FindingReport) -> CheckResult:
    rule = all_rules()[report.code]
    if report.role == "symptom":
        return _result(rule, Outcome.SKIPPED, reason=f"explained by {report.explained_by}, see there")
    fails = report.role == "cause" and report.severity != "note"
    watch = "" if fails else f"{report.title} ({report.severity}, confidence {report.confidence:.2f})"
    result = _result(
        rule,
        Outcome.FAILED if fails else Outcome.PASSED,
        summary=report.summary,
        wanted="" if report.prescription is None else report.prescription.summary,
        where=report.where or "",
        watch=watch,
    )
    return _with_numbers(result, examined.findings[report.code].supporting)


def _required(result: CheckResult) -> CheckResult:
    if result.outcome is not Outcome.SKIPPED:
        return result
    return replace(result, outcome=Outcome.FAILED, reason=f"required, but {result.reason}")


def _left_out(code: str, task: str) -> CheckResult:
    rule = all_rules()[code]
    cannot = rule.only and task not in rule.only
    why = f"a task of kind {task} cannot have it" if cannot else "it was not among the checks that were chosen"
    return _result(rule, Outcome.FAILED, reason=f"required, but {why}")


def _with_numbers(result: CheckResult, evidence: Sequence[Evidence]) -> CheckResult:
    """With the strongest measurement; of equals the first, which the rule thought of first."""
    if not evidence:
        return result
    best = max(evidence, key=lambda item: (item.grade, item.weight))
    return replace(result, detail=one_line(best.text), measure=best.measure, value=best.value, threshold=best.threshold)


def _result(rule: Rule, outcome: Outcome, **texts: str) -> CheckResult:
    lines = {key: one_line(text) for key, text in texts.items()}
    return CheckResult(rule.code, rule.name, rule.family, rule.title, outcome, **lines)  # type: ignore[arg-type]
