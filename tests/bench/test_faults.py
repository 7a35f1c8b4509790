"""Every fault of the benchmark is a real edit of a sound recipe, runs, and leaves a record that can be read."""

import math
from dataclasses import replace
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import torch

import kddoctor.bench.faults
from kddoctor.bench.distil import distil
from kddoctor.bench.fault import Edit, Fault, Level, all_faults
from kddoctor.bench.held_out import HELD_OUT
from kddoctor.bench.looked_at import LOOKED_AT
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.states import States, described
from kddoctor.bench.task import Task, find_task
from kddoctor.bench.unmade import UNMADE
from kddoctor.errors import UsageError
from kddoctor.rules.registry import all_rules
from kddoctor.run import load

FAULTS = all_faults()
TASKS = {"ranking": "movielens", "tokens": "language"}
EDITS = [
    pytest.param(edit, id=f"{code}-{edit.__name__}")
    for code, fault in FAULTS.items()
    for edit in (*fault.seen, *fault.unseen)
]


def tried(fault: Fault, edit: Edit, *marks: pytest.MarkDecorator) -> Any:
    """On the digits, which every machine has, and otherwise on a task that the mistake can be made in."""
    task = "digits" if "multiclass" in fault.kinds else TASKS[fault.kinds[0]]
    return pytest.param(task, edit, id=f"{fault.code}-{edit.__name__}", marks=marks)


def seldom(fault: Fault, edit: Edit) -> bool:
    """Whether ``make test-slow`` is often enough: earlier batches hardly change, and what is made first of a fault of
    classifiers is recorded by ``kddoctor bench --quick``, which CI runs. Of the newest batch each is made.
    """
    newest = edit in HELD_OUT.get(fault.code, ())
    return not newest and ("multiclass" in fault.kinds or edit in LOOKED_AT.get(fault.code, ()))


RUNS = [
    tried(fault, edit, *(pytest.mark.slow,) * seldom(fault, edit))
    for code, fault in FAULTS.items()
    for edit in (*fault.seen, *fault.unseen, *LOOKED_AT.get(code, ()), *HELD_OUT.get(code, ()))
]


def small(name: str) -> Task:
    """A task with a teacher of one epoch and a student of two; skips where its data is not to be had."""
    task = find_task(name)
    try:
        task.data()
    except UsageError as error:
        pytest.skip(str(error))
    recipe = replace(task.recipe, epochs=2, teacher=replace(task.recipe.teacher, epochs=1))
    return replace(task, recipe=recipe)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    return States(tmp_path_factory.mktemp("states"))


def short(recipe: Recipe) -> Recipe:
    """As few epochs as the test can afford; what else the edit changed stays."""
    teacher = replace(recipe.teacher, epochs=1)
    return replace(recipe, epochs=min(2, recipe.epochs), teacher=teacher)


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_the_recipe_at_every_level(edit: Edit, level: Level) -> None:
    sound = find_task("digits").recipe
    assert described(edit(sound, level)) != described(sound)


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_has_a_knob_where_an_edit_of_it_depends_on_the_level(code: str) -> None:
    sound, fault = find_task("digits").recipe, FAULTS[code]
    turned = [len({described(edit(sound, level)) for level in Level}) > 1 for edit in (*fault.seen, *fault.unseen)]
    assert any(turned) == fault.knob


@pytest.mark.parametrize(("name", "edit"), RUNS)
# What torch says of a mean over classes is true, and the mistake.
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
def test_an_edit_runs_and_leaves_a_readable_record(name: str, edit: Edit, states: States, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    task = small(name)
    faulty = short(edit(task.recipe, Level.SEVERE))
    run = load(distil(tmp_path / "run", task, faulty, seed=1, states=states, baseline=False).path)
    assert run.splits == ("train", "val")
    assert math.isclose(run.manifest.distillation.temperature or 0.0, faulty.temperature)


@pytest.mark.parametrize("code", sorted(set(all_rules()) - set(UNMADE)))
def test_every_rule_has_a_fault_with_seen_and_unseen_implementations(code: str) -> None:
    assert code in FAULTS, f"{code} has a rule and no file below kddoctor/bench/faults/"
    assert FAULTS[code].seen, f"{code} has no implementation that rules may be developed on"
    assert FAULTS[code].unseen, f"{code} has no implementation that rules are only measured on"


def test_implementations_have_names_of_their_own() -> None:
    names = [edit.__name__ for fault in FAULTS.values() for edit in (*fault.seen, *fault.unseen)]
    assert len(names) == len(set(names))


def test_each_fault_has_a_file_with_the_name_of_its_rule() -> None:
    files = {module.name for module in iter_modules(kddoctor.bench.faults.__path__)}
    named = {rule.name.replace("-", "_") for code, rule in all_rules().items() if code not in UNMADE}
    assert named <= files, f"rules without a fault of their name: {sorted(named - files)}"
