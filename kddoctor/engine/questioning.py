"""Why one code was named, or not, in one run."""

from dataclasses import dataclass

from kddoctor.engine.measuring import measure
from kddoctor.engine.reasoning import differential
from kddoctor.engine.stating import stated
from kddoctor.engine.types import Hypothesis
from kddoctor.engine.weighing import PRIOR
from kddoctor.policy import Policy
from kddoctor.policy.applying import rules_under, run_under
from kddoctor.rules.finding import Evidence, NotExamined
from kddoctor.rules.registry import Rule, all_rules
from kddoctor.run.directory import Run


@dataclass(frozen=True)
class Answer:
    """verdict: one sentence. evidence: what was measured for and against, the weightiest first. odds: log-odds before
    looking and after, in nats; None where the rule could not look. missing: what it would need.
    """

    rule: Rule
    verdict: str
    evidence: tuple[Evidence, ...]
    odds: tuple[float, float] | None
    missing: NotExamined | None


def question(run: Run, code: str, policy: Policy | None = None) -> Answer:
    """Diagnose the run, under a policy where one is given, and say what became of one code.

    Raises RunError for values that cannot be measured.
    """
    policy = policy or Policy()
    found = differential(measure(run_under(policy, run)), rules=rules_under(policy, all_rules()))
    rule = all_rules()[code]
    if rule.only and run.manifest.task not in rule.only:
        return Answer(rule, f"A task of kind {run.manifest.task} cannot have it.", (), None, None)
    for other, missing in found.not_examined:
        if other.code == code:
            return Answer(rule, "It was not examined: the record does not hold what it looks at.", (), None, missing)
    groups: tuple[tuple[tuple[Hypothesis, ...], str], ...] = (
        (found.established, "It is named as a cause, with confidence {confidence:.2f}."),
        (found.explained, "It is a symptom: {by} explains it."),
        (found.suspects, "It is suspected, with confidence {confidence:.2f}: too little to be named as a cause."),
        (found.refuted, "It was looked for, and ruled out."),
        (found.open, "It was looked for; what speaks for it and against it leaves it undecided."),
    )
    for hypotheses, sentence in groups:
        for hypothesis in hypotheses:
            if hypothesis.rule.code == code and hypothesis.finding.evidence:
                said = sentence.format(confidence=stated(hypothesis), by=hypothesis.explained_by)
                return Answer(rule, said, _ordered(hypothesis), (PRIOR, hypothesis.log_odds), None)
    return Answer(rule, "It was looked for; nothing recorded speaks for it or against it.", (), (PRIOR, PRIOR), None)


def _ordered(hypothesis: Hypothesis) -> tuple[Evidence, ...]:
    return tuple(sorted(hypothesis.finding.evidence, key=lambda item: (not item.supports, -item.weight)))
