"""How sure a finding is stated to be."""

from __future__ import annotations

import json

import pytest

from kddoctor.engine import stating
from kddoctor.engine.stating import Record, measured, novelty, stated
from kddoctor.engine.types import Status
from kddoctor.engine.weighing import CEILING, weigh
from kddoctor.rules.finding import Grade
from tests.engine.findings import a_rule, with_evidence


@pytest.fixture
def records(monkeypatch):
    """``records({status: record})`` in place of the file."""

    def replace(known):
        monkeypatch.setattr(stating, "measured", lambda: known)

    return replace


def certain(grade: Grade = Grade.STATISTICAL):
    return weigh(a_rule(), with_evidence(grade, weight=20.0))


def test_a_code_without_a_record_is_as_sure_as_all_of_its_grade(records):
    records({Status.SUSPECTED: Record(rate=0.6, worth=8.0, by_code={})})
    assert stated(certain()) == pytest.approx(0.6)


def test_its_own_record_counts_the_more_the_longer_it_is():
    record = Record(rate=0.6, worth=10.0, by_code={"KD101": (1, 1), "KD102": (90, 90), "KD103": (10, 0)})
    assert record.rate_of("KD101") == pytest.approx(7 / 11)
    assert record.rate_of("KD102") == pytest.approx(0.96)
    assert record.rate_of("KD103") == pytest.approx(0.3)


def test_on_a_new_task_findings_are_worth_less_than_where_rules_were_developed(records):
    records({Status.SUSPECTED: Record(rate=0.6, worth=8.0, by_code={}, novelty=0.5)})
    assert stated(certain()) == pytest.approx(0.3)


def test_novelty_is_drawn_to_one_where_little_was_counted_and_never_beyond():
    half, known = (10, 4), (1000, 800)
    few, many = novelty(half, known, worth=100.0), novelty((1000, 400), known, worth=8.0)
    assert 0.9 < few < 1
    assert many == pytest.approx(0.5, abs=0.01)
    assert novelty((40, 40), known, worth=8.0) == 1
    assert novelty((0, 0), known, worth=8.0) == 1


def test_weaker_evidence_is_stated_lower(records):
    records({Status.SUSPECTED: Record(rate=0.6, worth=8.0, by_code={})})
    weak = weigh(a_rule(), with_evidence(Grade.STATISTICAL, weight=4.5))
    assert stated(weak) == pytest.approx(0.6 * weak.confidence / CEILING[Grade.STATISTICAL])
    assert stated(weak) < stated(certain())


def test_nothing_is_stated_surer_than_its_evidence(records):
    records({status: Record(rate=1.0, worth=8.0, by_code={}) for status in Status})
    for grade in Grade:
        assert stated(certain(grade)) == CEILING[grade]


def test_without_a_measurement_confidence_is_that_of_the_evidence(records):
    records({})
    assert stated(certain()) == CEILING[Grade.STATISTICAL]


def test_contradicting_proofs_stay_a_suspicion(records):
    records({Status.SUSPECTED: Record(rate=1.0, worth=8.0, by_code={})})
    conflict = weigh(a_rule(), with_evidence(Grade.PROOF, against=(Grade.PROOF,)))
    assert stated(conflict) == conflict.confidence


def test_the_file_holds_counts_of_every_status():
    found = measured()
    assert set(found) >= {Status.SUSPECTED, Status.CONFIRMED}
    for record in found.values():
        assert 0 < record.rate < 1
        assert record.worth > 0
        assert all(0 <= right <= named for named, right in record.by_code.values())
    assert found[Status.SUSPECTED].novelty < found[Status.CONFIRMED].novelty <= 1
    assert found[Status.CONFIRMED].rate > found[Status.SUSPECTED].rate, json.dumps(str(found))
