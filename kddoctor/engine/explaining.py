"""Explaining away: the smallest set of upstream causes that accounts for what was found."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kddoctor.engine.stating import stated
from kddoctor.engine.types import Hypothesis, Status
from kddoctor.rules.finding import Grade
from kddoctor.rules.registry import Family

#: From this confidence on a hypothesis is a cause.
BELIEVED = 0.5
#: Families of what a student is taught, and of how well it could learn it.
EARLIER: frozenset[Family] = frozenset({"pipeline", "loss", "sequence-LM", "recsys"})
LATER: frozenset[Family] = frozenset({"soft-targets", "capacity", "optimisation"})
#: Below this it is not even mentioned.
MENTIONED = 0.15


def order(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Most likely first; equally likely ones upstream first."""
    return sorted(hypotheses, key=lambda h: (-round(_likely(h), 2), h.rule.stage, h.rule.code))


def _likely(hypothesis: Hypothesis) -> float:
    """Statistics name one code far more often rightly than another; of interventions and proofs too few are counted."""
    return stated(hypothesis) if hypothesis.status is Status.SUSPECTED else hypothesis.confidence


def explain_away(believed: Sequence[Hypothesis]) -> tuple[list[Hypothesis], list[Hypothesis]]:
    """(causes, symptoms). A hypothesis with proof of its own stays a cause, unless a proven one implies it.

    The best-founded ones are taken first, equally founded ones upstream first, capacity after them, and arguments by
    exclusion last of all; so a symptom is listed under the best-founded and most upstream cause that masks it.
    """
    causes: list[Hypothesis] = []
    symptoms: list[Hypothesis] = []
    for hypothesis in sorted(believed, key=_precedence):
        masking = next((c for c in causes if _explains(c, hypothesis)), None)
        if masking is None:
            causes.append(hypothesis)
        else:
            symptoms.append(replace(hypothesis, explained_by=masking.rule.code))
    return order(causes), order(symptoms)


def _precedence(hypothesis: Hypothesis) -> tuple[bool, bool, bool, int, int, str]:
    rule = hypothesis.rule
    return (
        hypothesis.finding.by_exclusion,
        rule.last,
        rule.family == "capacity",
        -hypothesis.grade,
        rule.stage,
        rule.code,
    )


def _explains(cause: Hypothesis, symptom: Hypothesis) -> bool:
    if symptom.rule.code in cause.rule.implies and cause.grade is Grade.PROOF and not cause.conflict:
        return True
    if symptom.finding.by_exclusion and cause.finding.severity != "note":
        return True
    if symptom.rule.last and not cause.rule.last and cause.finding.severity != "note":
        return symptom.grade is not Grade.PROOF
    if _is_verdict_about_what_comes_later(cause, symptom):
        return True
    return symptom.rule.code in cause.rule.masks and _outranks(cause, symptom)


def _is_verdict_about_what_comes_later(cause: Hypothesis, symptom: Hypothesis) -> bool:
    """How large, how long and how fast were never tried while the teacher or the loss was wrong."""
    proven = cause.grade > Grade.STATISTICAL and not cause.conflict and cause.finding.severity == "error"
    later = symptom.grade is Grade.STATISTICAL and symptom.rule.family in LATER
    return proven and cause.rule.family in EARLIER and later


def _outranks(cause: Hypothesis, symptom: Hypothesis) -> bool:
    if symptom.grade is Grade.PROOF:
        return False
    # No verdict about capacity stands while anything upstream is wrong, however it was obtained.
    return cause.grade >= symptom.grade or symptom.rule.family == "capacity"
