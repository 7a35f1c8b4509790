"""Examines a run for its checks: the diagnosis, and what each rule found, also one that ruled its fault out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kddoctor.engine.diagnosis import Diagnosis, judge
from kddoctor.engine.measuring import measure_quietly
from kddoctor.errors import one_line
from kddoctor.policy import Policy
from kddoctor.policy.applying import rules_under, run_under
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.registry import Measurements, Rule, Verdict, all_rules
from kddoctor.run.directory import Run


@dataclass(frozen=True)
class Examined:
    """rules: by code, those that were chosen and that this kind of task can have. findings: by code, of every rule that
    could look. crashes: by code, one line each: rules that raised an error, which the diagnosis leaves out.
    """

    diagnosis: Diagnosis
    rules: Mapping[str, Rule]
    findings: Mapping[str, Finding]
    crashes: Mapping[str, str]


def examine(run: Run, policy: Policy) -> Examined:
    """Diagnose a run under a policy. Raises RunError for values that cannot be measured.

    A rule that raises is an error of that check alone: it neither stops the others nor looks like a pass.
    """
    measured = measure_quietly(run_under(policy, run))
    rules = {
        code: rule
        for code, rule in rules_under(policy, all_rules()).items()
        if _chosen(code, policy) and (not rule.only or run.manifest.task in rule.only)
    }
    findings: dict[str, Finding] = {}
    crashes: dict[str, str] = {}
    for code, rule in rules.items():
        try:
            found = _verdict(rule, measured)
        except Exception as error:  # any rule may be wrong in any way
            crashes[code] = one_line(f"the rule crashed: {type(error).__name__}: {error}")
        else:
            if isinstance(found, Finding):
                findings[code] = found
    sound = {code: rule for code, rule in rules.items() if code not in crashes}
    diagnosis = judge(run.name, measured, rules=sound, require=policy.require, warnings=run.warnings)
    return Examined(diagnosis, rules, findings, crashes)


def _chosen(code: str, policy: Policy) -> bool:
    selected = not policy.select or code.startswith(policy.select)
    return selected and not (policy.ignore and code.startswith(policy.ignore))


def _verdict(rule: Rule, measured: Measurements) -> Verdict:
    """As the rule gives it. A diagnosis takes one of another package that raises for not examined; a check must not."""
    found = replace(rule, package="")(measured)
    if not isinstance(found, Finding | NotExamined):
        raise TypeError(f"it returned a {type(found).__name__}; expected a Finding or NotExamined")
    return found
