"""What the benchmark is made of holds what its protocol asks for."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from kddoctor.bench.command import chosen_tasks
from kddoctor.bench.fault import all_faults
from kddoctor.bench.healthy import HEALTHY
from kddoctor.bench.held_out import HELD_OUT
from kddoctor.bench.lookalikes import LOOKALIKES
from kddoctor.bench.looked_at import LOOKED_AT
from kddoctor.bench.plan import all_cases, cases_of, find_case, quick_cases
from kddoctor.bench.practices import PRACTICES
from kddoctor.bench.reported import REPORTED
from kddoctor.bench.states import described
from kddoctor.bench.task import NAMES, TRIAL_TASKS, find_task
from kddoctor.bench.unmade import UNMADE
from kddoctor.errors import UsageError
from kddoctor.rules.registry import all_rules

#: Codes of the catalogue: 74.
CATALOGUE = 74
#: Sound recipes.
VARIANTS = (*HEALTHY, *LOOKALIKES, *PRACTICES)


def test_every_fault_has_a_rule_and_every_rule_a_fault_or_a_reason_why_none_is_made() -> None:
    assert set(all_faults()) - set(all_rules()) == set()
    assert set(all_rules()) - set(all_faults()) == set(UNMADE), "a rule without a fault is an opinion"


def test_a_case_has_the_same_name_in_every_process() -> None:
    """Of a function that another is given, the address is no part of its description."""
    addressed = {case.name for case in all_cases().values() if " at 0x" in described(case.recipe)}
    assert not addressed


def test_every_code_of_the_catalogue_is_made_or_said_to_be_out_of_reach() -> None:
    assert set(all_faults()) & set(UNMADE) == set()
    assert len(set(all_faults()) | set(UNMADE)) == CATALOGUE
    assert all(len(why) > 40 for why in UNMADE.values())


def test_every_rule_is_measured_on_an_implementation_that_is_still_held_out() -> None:
    assert set(HELD_OUT) == set(all_faults())
    names = {edit.__name__ for fault in all_faults().values() for edit in (*fault.seen, *fault.unseen)}
    names |= {edit.__name__ for edits in LOOKED_AT.values() for edit in edits}
    assert not names & {edit.__name__ for edits in HELD_OUT.values() for edit in edits}


def test_tasks_differ_in_kind() -> None:
    tasks = [find_task(name) for name in NAMES]
    assert len(tasks) >= 6
    assert {task.kind for task in tasks} == {"multiclass", "ranking", "tokens"}
    assert max(task.classes or 0 for task in tasks) >= 100
    assert {task.seen for task in tasks} == {True, False}


def test_there_are_enough_sound_runs_and_look_alikes_among_them() -> None:
    groups = Counter(case.group for case in all_cases().values())
    assert groups["twin"] + groups["healthy"] + groups["lookalike"] >= 200
    assert groups["lookalike"] >= 70
    assert groups["practice"] >= 120
    assert groups["pair"] >= 40
    assert len(REPORTED) >= 8


def test_sound_variants_have_names_of_their_own_and_each_is_another_recipe() -> None:
    assert len({v.name for v in VARIANTS}) == len(VARIANTS)
    # Elsewhere some of them are the plain recipe: it has that schedule, or that optimizer.
    recipe = find_task("digits").recipe
    texts = [described(v.edit(recipe)) for v in VARIANTS]
    assert len({described(recipe), *texts}) == 1 + len(texts)


def test_a_key_is_made_of_content_alone() -> None:
    for key, case in list(all_cases().items())[::50]:
        assert re.fullmatch("[0-9a-f]{24}", key)
        assert case.twin.key in all_cases()


def test_tasks_on_trial_have_cases_by_name_that_no_report_counts() -> None:
    cases = cases_of(TRIAL_TASKS)
    assert {case.task for case in cases} == set(TRIAL_TASKS)
    assert {case.group for case in cases} >= {"twin", "healthy", "lookalike", "fault", "outside"}
    assert not {case.key for case in cases} & set(all_cases())
    assert all(find_case(case.key) is case for case in (cases[0], next(iter(all_cases().values()))))


def test_tasks_are_chosen_by_name_and_a_mistyped_one_says_which_there_are() -> None:
    assert chosen_tasks(None) == NAMES
    assert chosen_tasks("spelling, digits") == ("spelling", "digits")
    with pytest.raises(UsageError, match=f"'numbers'; expected some of {', '.join((*NAMES, *TRIAL_TASKS))}"):
        chosen_tasks("digits,numbers")


def test_the_quick_slice_holds_every_fault_that_its_task_can_have() -> None:
    assert {case.truth[0] for case in quick_cases() if case.group == "fault"} == {
        code for code, f in all_faults().items() if "multiclass" in f.kinds
    }
