"""From a finding to a hypothesis: log-odds, and a confidence that the grade of the evidence caps."""

import math
from collections.abc import Iterable, Mapping

from kddoctor.engine.types import Hypothesis, Status
from kddoctor.rules.finding import Evidence, Finding, Grade
from kddoctor.rules.registry import Rule

#: Log-odds of one given fault before looking: about one run in sixty has it.
PRIOR = -4.0
#: Highest confidence by the grade of the best supporting evidence. Set so that statistics alone never sound
#: certain; to be replaced by the benchmark's calibration.
CEILING: Mapping[Grade, float] = {Grade.STATISTICAL: 0.85, Grade.INTERVENTIONAL: 0.95, Grade.PROOF: 0.99}
STATUS: Mapping[Grade, Status] = {
    Grade.STATISTICAL: Status.SUSPECTED,
    Grade.INTERVENTIONAL: Status.PROBABLE,
    Grade.PROOF: Status.CONFIRMED,
}
#: A contradiction between proofs is never averaged away: it stays a suspicion.
CONFLICT_CEILING = 0.49


def weigh(rule: Rule, finding: Finding) -> Hypothesis:
    """Sum the evidence, each correlated group once; what was not measured does not count."""
    supporting, opposing = _by_group(finding.supporting), _by_group(finding.opposing)
    log_odds = PRIOR + sum(e.weight for e in supporting) - sum(e.weight for e in opposing)
    grade = max((e.grade for e in finding.supporting), default=Grade.STATISTICAL)
    conflict = grade is Grade.PROOF and any(e.grade is Grade.PROOF for e in finding.opposing)
    confidence = min(1 / (1 + math.exp(-log_odds)), CEILING[grade])
    if conflict:
        confidence = min(confidence, CONFLICT_CEILING)
    status = Status.SUSPECTED if conflict else STATUS[grade]
    return Hypothesis(rule, finding, log_odds, confidence, grade, status, conflict)


def _by_group(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The strongest member of each group."""
    strongest: dict[str, Evidence] = {}
    for item in evidence:
        known = strongest.get(item.group)
        if known is None or item.weight > known.weight:
            strongest[item.group] = item
    return list(strongest.values())
