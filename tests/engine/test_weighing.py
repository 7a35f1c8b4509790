"""How sure a hypothesis may sound, and which of several is the cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kddoctor.engine import explaining
from kddoctor.engine.explaining import explain_away, order
from kddoctor.engine.types import Status
from kddoctor.engine.weighing import CEILING, CONFLICT_CEILING, PRIOR, weigh
from kddoctor.rules.finding import Finding, Grade
from tests.engine.findings import a_rule, believed, with_evidence

weights = st.floats(0.0, 50.0)
grades = st.sampled_from(list(Grade))


@pytest.mark.parametrize("grade", Grade)
@pytest.mark.parametrize("pieces", [1, 5, 50])
def test_no_heap_of_evidence_sounds_surer_than_its_grade_allows(grade, pieces):
    found = weigh(a_rule(), with_evidence(*[grade] * pieces, weight=20.0))
    assert found.confidence == CEILING[grade]


def test_a_proof_is_confirmed_a_control_probable_and_statistics_a_suspicion():
    statuses = [weigh(a_rule(), with_evidence(grade)).status for grade in sorted(Grade)]
    assert statuses == [Status.SUSPECTED, Status.PROBABLE, Status.CONFIRMED]


def test_statistics_never_sound_as_sure_as_a_proof():
    assert CEILING[Grade.STATISTICAL] < CEILING[Grade.INTERVENTIONAL] < CEILING[Grade.PROOF] < 1


@given(st.lists(st.tuples(grades, weights), max_size=6))
def test_opposing_proofs_are_never_averaged_into_a_cause(more):
    finding = with_evidence(Grade.PROOF, against=(Grade.PROOF,))
    for number, (grade, weight) in enumerate(more):
        finding = finding.supported_by("probe", f"more-{number}", 1.0, "more", grade=grade, weight=weight)
    found = weigh(a_rule(), finding)
    assert found.conflict
    assert found.status is Status.SUSPECTED
    assert found.confidence <= CONFLICT_CEILING


def test_an_opposing_statistic_is_no_conflict_with_a_proof():
    assert not weigh(a_rule(), with_evidence(Grade.PROOF, against=(Grade.STATISTICAL,))).conflict


@given(st.lists(weights, min_size=1, max_size=6))
def test_evidence_of_one_group_counts_once_by_its_strongest_member(several):
    finding = Finding()
    for number, weight in enumerate(several):
        finding = finding.supported_by("probe", f"m{number}", 1.0, "text", group="one", weight=weight)
    assert weigh(a_rule(), finding).log_odds == pytest.approx(PRIOR + max(several))


@given(st.lists(weights, min_size=1, max_size=6))
def test_evidence_of_different_groups_adds_up(several):
    finding = Finding()
    for number, weight in enumerate(several):
        finding = finding.supported_by("probe", f"m{number}", 1.0, "text", weight=weight)
    assert weigh(a_rule(), finding).log_odds == pytest.approx(PRIOR + sum(several))


@given(weights, weights)
def test_one_group_may_speak_on_both_sides(a, b):
    finding = Finding().supported_by("p", "m", 1.0, "for", group="g", weight=a)
    finding = finding.against("p", "n", 1.0, "against", group="g", weight=b)
    assert weigh(a_rule(), finding).log_odds == pytest.approx(PRIOR + a - b)


def test_without_any_measurement_a_hypothesis_stays_where_it_was():
    assert weigh(a_rule(), Finding()).log_odds == PRIOR


def test_a_downstream_statistic_is_a_symptom_of_a_proven_cause():
    cause = believed("KD901", masks=("KD902",), stage=10)
    causes, symptoms = explain_away([believed("KD902", Grade.STATISTICAL, stage=20), cause])
    assert [h.rule.code for h in causes] == ["KD901"]
    assert [(h.rule.code, h.explained_by) for h in symptoms] == [("KD902", "KD901")]


def test_a_second_fault_with_a_proof_of_its_own_stays_a_cause():
    causes, symptoms = explain_away([believed("KD901", masks=("KD902",)), believed("KD902", stage=20)])
    assert ([h.rule.code for h in causes], symptoms) == (["KD901", "KD902"], [])


def test_a_statistic_does_not_explain_away_a_control():
    first = believed("KD901", Grade.STATISTICAL, masks=("KD902",))
    causes, _ = explain_away([first, believed("KD902", Grade.INTERVENTIONAL, stage=20)])
    assert {h.rule.code for h in causes} == {"KD901", "KD902"}


def test_no_verdict_about_capacity_stands_beside_anything_upstream():
    first = believed("KD901", Grade.STATISTICAL, masks=("KD902",))
    floor = believed("KD902", Grade.INTERVENTIONAL, stage=60, family="capacity")
    causes, symptoms = explain_away([first, floor])
    assert ([h.rule.code for h in causes], [h.rule.code for h in symptoms]) == (["KD901"], ["KD902"])


def test_a_cause_that_masks_nothing_explains_nothing():
    causes, symptoms = explain_away([believed("KD901"), believed("KD902", Grade.STATISTICAL, stage=20)])
    assert (len(causes), symptoms) == (2, [])


def test_an_argument_by_exclusion_gives_way_to_whatever_has_evidence_of_its_own():
    excluded = believed("KD901", stage=5)
    excluded = replace(excluded, finding=replace(excluded.finding, by_exclusion=True))
    late = believed("KD902", Grade.STATISTICAL, stage=70)
    causes, symptoms = explain_away([excluded, late])
    assert ([h.rule.code for h in causes], [h.rule.code for h in symptoms]) == (["KD902"], ["KD901"])
    noted = replace(late, finding=replace(late.finding, severity="note"))
    assert {h.rule.code for h in explain_away([excluded, noted])[0]} == {"KD901", "KD902"}
    assert [h.rule.code for h in explain_away([excluded])[0]] == ["KD901"]


def test_a_symptom_is_listed_under_its_most_upstream_cause():
    first, second = believed("KD901", masks=("KD903",), stage=10), believed("KD902", masks=("KD903",), stage=20)
    _, symptoms = explain_away([second, believed("KD903", Grade.STATISTICAL, stage=30), first])
    assert symptoms[0].explained_by == "KD901"


def test_equally_likely_causes_are_ordered_from_upstream():
    codes = [h.rule.code for h in order([believed("KD902", stage=20), believed("KD903", stage=5), believed("KD901")])]
    assert codes == ["KD903", "KD901", "KD902"]


def test_suspicions_are_ordered_by_what_readers_are_told(monkeypatch):
    rates = {"KD901": 0.4, "KD902": 0.6}
    monkeypatch.setattr(explaining, "stated", lambda h: rates[h.rule.code])
    likely = [believed("KD901", Grade.STATISTICAL, stage=5), believed("KD902", Grade.STATISTICAL, stage=20)]
    assert [h.rule.code for h in order(likely)] == ["KD902", "KD901"]
    # Of what is proven, the one upstream explains the other.
    proven = [believed("KD901", stage=5), believed("KD902", stage=20)]
    assert [h.rule.code for h in order(proven)] == ["KD901", "KD902"]


def test_the_order_does_not_depend_on_the_order_of_arrival():
    several = [believed(f"KD90{n}", stage=10 + n % 2) for n in range(6)]
    assert order(several) == order(several[::-1])
