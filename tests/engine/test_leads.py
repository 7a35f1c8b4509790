"""Where to look next: what all evidence together looks like, and that it never decides anything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from kddoctor.engine.leads import HEALTHY, MOST, OUTSIDE, Lead, Model, examined, fitted, leads, signs_of
from kddoctor.engine.measuring import measure
from kddoctor.engine.reasoning import differential
from kddoctor.engine.types import Differential, Hypothesis
from kddoctor.engine.weighing import weigh
from kddoctor.rules.finding import Finding, NotExamined
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from tests import builders as b
from tests.builders import recorded_run
from tests.engine.findings import a_rule
from tests.engine.test_verdict import MEAN, diagnosed
from tests.forensics import losses

#: A run that is sick of something that is not proven.
UNPROVEN = {"teacher": b.untrained}
CODES = ("KD901", "KD902", "KD903", "KD904", "KD905")


def found(hypotheses: Iterable[Hypothesis] = (), silent: Iterable[str] = ()) -> Differential:
    missing = tuple((a_rule(code), NotExamined(("x",), f"record {code}")) for code in silent)
    return Differential((), (), (), tuple(hypotheses), (), missing, 0.1, 0.9, ())


def hypothesis(code: str, nats: float = 0.0, against: float = 0.0) -> Hypothesis:
    finding = Finding()
    if nats:
        finding = finding.supported_by("p", "m", 1.0, "for it", weight=nats)
    if against:
        finding = finding.against("p", "n", 1.0, f"not {code}", weight=against)
    return weigh(a_rule(code), finding)


def model(**weights: tuple[float, ...]) -> Model:
    """Over CODES, healthy and outside; weights: of the sign that a hypothesis of this code gives by measure m."""
    named = {f"{code} p m": np.array([*of, 0.0, 0.0]) for code, of in weights.items()}
    return Model((*CODES, HEALTHY, OUTSIDE), np.zeros(len(CODES) + 2), named)


def test_signs_are_nats_for_less_nats_against_by_code_and_measurement():
    signs = signs_of(found([hypothesis("KD901", 2.0, 3.0), hypothesis("KD902", 1.0)]))
    assert signs == {"KD901 p m": 2.0, "KD901 p n": -3.0, "KD902 p m": 1.0}


def test_evidence_of_one_code_may_lead_to_another():
    of = found(map(hypothesis, CODES, (3.0, 0.0, 0.0, 0.0, 0.0)))
    first, *_ = leads(of, {"KD901"}, model(KD901=(1.0, 0.0, 0.0, 2.0, 0.0)))
    assert first.rule.code == "KD904"
    first, *_ = leads(of, {"KD901"}, model(KD901=(1.0, 0.0, 2.0, -2.0, 0.0)))
    assert first.rule.code == "KD903"


def test_what_is_named_already_is_no_lead_and_the_list_is_short():
    of = found(map(hypothesis, CODES))
    codes = [lead.rule.code for lead in leads(of, {"KD902"}, model())]
    assert codes == ["KD901", "KD903", "KD904"]
    assert len(codes) == MOST


def test_only_codes_that_were_looked_for_are_leads():
    assert [lead.rule.code for lead in leads(found([hypothesis("KD905")]), (), model())] == ["KD905"]


def test_a_lead_says_what_speaks_against_it_or_what_to_record():
    of = found([hypothesis("KD901", against=2.0), hypothesis("KD902")], silent=["KD903"])
    by_code = {lead.rule.code: (lead.against, lead.how) for lead in leads(of, (), model())}
    assert by_code == {"KD901": ("not KD901", None), "KD902": (None, None), "KD903": (None, "record KD903")}


def test_a_sign_that_the_model_never_saw_says_nothing():
    known = model(KD901=(1.0, 0.0, 0.0, 0.0, 0.0))
    assert known.likelihoods({"KD901 p m": 2.0, "KD777 q r": 50.0}) == known.likelihoods({"KD901 p m": 2.0})


def test_likelihoods_are_shares():
    shares = model(KD901=(9.0, 0.0, 0.0, 0.0, 0.0)).likelihoods({"KD901 p m": 100.0})
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["KD901"] == pytest.approx(1)


def test_the_shipped_model_knows_codes_and_evidence_that_there_is(tmp_path):
    shipped = fitted()
    assert set(shipped.classes) - {HEALTHY, OUTSIDE} <= set(all_rules())
    assert {sign.split()[0] for sign in shipped.weights} <= set(all_rules())
    run = load(recorded_run(tmp_path / "run", kd=MEAN))
    signs = signs_of(differential(measure(run)))
    assert len(set(signs) & set(shipped.weights)) > len(signs) / 2


@pytest.mark.parametrize(("code", "kd"), [("KD201", MEAN), ("KD202", losses.kl(scale="1"))])
def test_what_a_rule_proves_is_among_the_likeliest_of_the_shipped_model_too(tmp_path, code, kd):
    diagnosis = diagnosed(tmp_path, kd=kd)
    assert diagnosis.cause_codes[0] == code
    of = differential(measure(load(tmp_path / "run")))
    assert code in {lead.rule.code for lead in leads(of, ())}


def test_leads_change_neither_verdict_nor_findings(tmp_path, monkeypatch):
    before = diagnosed(tmp_path / "a", **UNPROVEN)
    monkeypatch.setattr("kddoctor.engine.diagnosis.leads", lambda *_: (Lead(a_rule("KD105"), "x\ny", None),))
    after = diagnosed(tmp_path / "b", **UNPROVEN)
    assert [lead.code for lead in after.leads] == ["KD105"]
    assert after.leads[0].doubt == "against it: x y"
    assert after.model_copy(update={"leads": before.leads, "run": before.run}) == before


def test_a_suspicion_has_some_that_are_not_named_already(tmp_path):
    sick = diagnosed(tmp_path, **UNPROVEN)
    assert (sick.verdict, sick.causes[0].status) == ("sick", "suspected")
    assert 0 < len(sick.leads) <= MOST
    assert not {lead.code for lead in sick.leads} & {finding.code for finding in sick.findings}


@pytest.mark.parametrize("changes", [{}, {"kd": MEAN}], ids=["healthy", "proven"])
def test_who_has_no_reason_to_look_further_has_none(tmp_path, changes):
    assert diagnosed(tmp_path, **changes).leads == ()


def test_a_proven_note_is_no_reason_to_stop_looking(tmp_path):
    found = diagnosed(tmp_path, **UNPROVEN, observations={"teacher_training": True})
    assert found.verdict == "sick"
    assert found.leads


def test_something_unexplained_has_some_and_a_thin_record_none(tmp_path):
    unexplained = diagnosed(tmp_path / "a", student=b.forgetting(0.4))
    thin = diagnosed(tmp_path / "b", steps=0, metrics=[])
    assert (unexplained.verdict, thin.verdict) == ("inconclusive", "inconclusive")
    assert unexplained.leads
    assert thin.leads == ()


def test_ignored_codes_are_no_leads(tmp_path):
    first = diagnosed(tmp_path / "a", **UNPROVEN).leads[0].code
    less = diagnosed(tmp_path / "b", **UNPROVEN, ignore={first})
    assert first not in {lead.code for lead in less.leads}


def test_all_that_was_examined_is_in_the_signs():
    of = replace(found([hypothesis("KD901", 1.0)]), open=(hypothesis("KD902", 1.0),))
    assert [h.rule.code for h in examined(of)] == ["KD901", "KD902"]


def test_the_contract_of_json_has_them(tmp_path):
    told = json.loads(diagnosed(tmp_path, **UNPROVEN).to_json())["leads"]
    assert set(told[0]) == {"code", "name", "title", "against", "how"}
