"""Sound runs that are put to experiments all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kddoctor.bench import doubting
from kddoctor.bench.case import Case
from kddoctor.bench.doubting import OF_EACH_TASK, Doubt, doubt_case, doubted, summarise_doubts
from kddoctor.bench.plan import all_cases
from kddoctor.bench.recording import Cache


def test_some_of_each_task_and_of_each_kind_are_chosen():
    chosen = doubted([case for case in all_cases().values() if case.sound])
    assert {case.task for case in chosen} == {"digits", "movielens", "clothes", "sentiment"}
    for task in ("digits", "clothes"):
        of = [case for case in chosen if case.task == task]
        assert len(of) == OF_EACH_TASK
        assert len({case.group for case in of}) > 1


def test_shares_are_of_all_that_were_asked():
    found = summarise_doubts([Doubt("a", 0.9, 0.9, "declined"), Doubt("b", 0.9, 0.85, "harmed")])
    assert (found["doubted_declined"]["value"], found["doubted_harmed"]["value"]) == (0.5, 0.5)
    unmoved = summarise_doubts([Doubt("a", 0.9, 0.895, "did not help")])
    assert (unmoved["doubted_declined"]["value"], unmoved["doubted_harmed"]["value"]) == (0.0, 0.0)


def test_a_sound_run_is_recorded_with_its_code_and_treated_once(tmp_path, monkeypatch):
    case: Case = next(c for c in all_cases().values() if c.task == "digits" and c.group == "healthy")
    short = replace(case, recipe=replace(case.recipe, epochs=2, teacher=replace(case.recipe.teacher, epochs=1)))
    monkeypatch.setattr(doubting, "all_cases", lambda: {"short": short})
    monkeypatch.setattr(doubting, "TRIALS", 1)
    found = doubt_case("short", Cache(tmp_path))
    assert (found.said, found.after) == ("declined", pytest.approx(found.before))  # one trial is too few for anything
    monkeypatch.setattr(doubting, "_doubted", None)
    assert doubt_case("short", Cache(tmp_path)) == found
