"""What a policy changes: the thresholds and severities of rules, and the targets of a run."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps

from kddoctor.policy.policy import Policy
from kddoctor.rules.finding import Finding, NotExamined, Severity
from kddoctor.rules.registry import Rule, Verdict
from kddoctor.rules.settings import with_settings
from kddoctor.run.directory import Run

#: The rule that holds a run against its targets.
TARGETS_RULE = "KD704"


def rules_under(policy: Policy, rules: Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The rules with this policy's thresholds and severities; ``rules`` themselves stay as they are."""
    return {code: _rule_under(policy, rule) for code, rule in rules.items()}


def run_under(policy: Policy, run: Run) -> Run:
    """The run with this policy's targets in place of those that its manifest declares."""
    if not policy.targets:
        return run
    targets = run.manifest.targets.model_copy(update=dict(policy.targets))
    return replace(run, manifest=run.manifest.model_copy(update={"targets": targets}))


def _rule_under(policy: Policy, rule: Rule) -> Rule:
    values = policy.settings.get(rule.code)
    if values:
        rule = with_settings(rule, values, policy.source)
    if policy.targets and rule.code == TARGETS_RULE:
        rule = _changed(rule, lambda finding: _targets_from(policy, finding))
    severity = policy.severity_of(rule.code)
    return rule if severity is None else _changed(rule, lambda finding: _with_severity(finding, severity))


def _changed(rule: Rule, change: Callable[[Finding], Finding]) -> Rule:
    @wraps(rule.judge)
    def judge(*measurements: object) -> Verdict:
        found = rule.judge(*measurements)
        return found if isinstance(found, NotExamined) else change(found)

    return replace(rule, judge=judge)


def _with_severity(finding: Finding, severity: Severity) -> Finding:
    return replace(finding, severity=severity)


def _targets_from(policy: Policy, finding: Finding) -> Finding:
    """Evidence against a target says where that target stands."""
    origin = f"set in {policy.source}"
    evidence = tuple(replace(e, origin=origin) if e.measure in policy.targets else e for e in finding.evidence)
    return replace(finding, evidence=evidence, where=f"{policy.source}: targets")
