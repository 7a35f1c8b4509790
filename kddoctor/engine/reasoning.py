"""Runs the rules, weighs what they found, and settles on one differential."""

import math
from collections.abc import Callable, Container, Mapping, Sequence

from kddoctor.engine.explaining import BELIEVED, MENTIONED, explain_away, order
from kddoctor.engine.residual import weigh_residual
from kddoctor.engine.types import Differential, Hypothesis
from kddoctor.engine.weighing import PRIOR, weigh
from kddoctor.errors import survived
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.registry import Rule, Verdict, all_rules
from kddoctor.run.manifest import Manifest

#: From the finding of a rule to a hypothesis.
Weigh = Callable[[Rule, Finding], Hypothesis]
#: From what is believed to (causes, symptoms).
Explain = Callable[[Sequence[Hypothesis]], tuple[list[Hypothesis], list[Hypothesis]]]


def differential(
    measured: Mapping[type, object],
    select: Sequence[str] = (),
    ignore: Container[str] = (),
    *,
    rules: Mapping[str, Rule] | None = None,
    weigh: Weigh = weigh,
    explain: Explain = explain_away,
) -> Differential:
    """Judge every rule (or the selected ones) and put all explanations side by side.

    rules: those to judge by, such as a policy's; all of them as they are when left out. weigh, explain: other ways to
    do so, for the benchmark to show what these are worth.
    """
    hypotheses: list[Hypothesis] = []
    not_examined: list[tuple[Rule, NotExamined]] = []
    manifest = measured[Manifest]
    assert isinstance(manifest, Manifest)
    for code, rule in (all_rules() if rules is None else rules).items():
        if rule.only and manifest.task not in rule.only:
            continue
        if (select and not code.startswith(tuple(select))) or code in ignore:
            continue
        result = _verdict(rule, measured)
        if isinstance(result, NotExamined):
            not_examined.append((rule, result))
        else:
            hypotheses.append(weigh(rule, result))
    believed = [h for h in hypotheses if h.confidence >= BELIEVED]
    causes, symptoms = explain(believed)
    rest = [h for h in hypotheses if h.confidence < BELIEVED]
    suspects = [h for h in rest if h.finding.supporting and h.confidence >= MENTIONED]
    refuted = [h for h in rest if h not in suspects and h.log_odds < PRIOR]
    residual = weigh_residual(measured)
    # Shares of the exclusive explanations: healthy has score 0, every other its log-odds.
    scores = [0.0, residual.log_odds, *(h.log_odds for h in causes)]
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return Differential(
        established=tuple(causes),
        explained=tuple(symptoms),
        suspects=tuple(order(suspects)),
        refuted=tuple(sorted(refuted, key=lambda h: h.rule.code)),
        open=tuple(h for h in rest if h not in suspects and h not in refuted),
        not_examined=tuple(not_examined),
        healthy=weights[0] / sum(weights),
        unknown=weights[1] / sum(weights),
        unexplained=() if causes else residual.unexplained,
    )


def _verdict(rule: Rule, measured: Mapping[type, object]) -> Verdict:
    """As the rule gives it. One of ours that is wrong about an unusual record costs its own answer, not all others."""
    try:
        return rule(measured)
    except Exception as error:
        return NotExamined(("kddoctor",), survived(rule.code, error))
