"""The demo's loops make the mistakes that their stories tell, and nothing else knows about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kddoctor.demo import recipe
from kddoctor.demo.demo import list_faults
from kddoctor.demo.distil import accuracy, distil, trained_teacher
from kddoctor.demo.faults import DEFAULT, FAULTS, HEALTHY, find_fault
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from tests.cli.conftest import kddoctor  # noqa: F401 - a fixture
from tests.cli.running import Command


def test_every_fault_of_the_demo_has_a_rule() -> None:
    assert {fault.code for fault in FAULTS} <= set(all_rules())
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.name == all_rules()[fault.code].name for fault in FAULTS)
    assert len(list_faults()) == len(FAULTS) + 1


def test_a_fault_is_found_by_name_and_by_code() -> None:
    assert find_fault("KD106") is find_fault(DEFAULT)
    assert find_fault("healthy") is HEALTHY
    assert find_fault("") is None
    assert find_fault("kd999") is None


def test_the_held_out_rows_were_shown_to_nobody() -> None:
    seen = {tuple(image.flatten().tolist()) for image, _ in recipe.teacher_data()}
    student = {tuple(image.flatten().tolist()) for image, _ in recipe.train_data()}
    held_out = {tuple(image.flatten().tolist()) for image, _ in recipe.val_data()}
    assert student < seen
    assert not held_out & seen


@pytest.mark.slow
def test_the_recipe_is_sound() -> None:
    """The healthy twin beats the same student trained on labels alone, in most seeds and in the mean."""
    gains = []
    for seed in range(3):
        assert accuracy(trained_teacher(seed), recipe.val_data()) > 0.97
    for seed in range(3):
        gains.append(_gain(seed))
    assert sum(gains) / 3 > 0.01
    assert sorted(gains)[1] > 0


def _gain(seed: int) -> float:
    import tempfile

    from kddoctor.engine import diagnose

    with tempfile.TemporaryDirectory() as folder:
        gap = diagnose(load(distil(Path(folder) / "run", HEALTHY, seed=seed))).gap
    assert gap.student is not None
    assert gap.baseline is not None
    return gap.student - gap.baseline


def test_a_run_of_the_demo_says_nothing_about_its_fault(tmp_path: Path) -> None:
    fault = find_fault(DEFAULT)
    assert fault is not None
    path = distil(tmp_path / "run", fault, seed=0, baseline=False)
    text = (path / "kd_run.yaml").read_text(encoding="utf-8") + (path / "observations.json").read_text(encoding="utf-8")
    assert fault.code not in text
    assert fault.name not in text
    assert (path / "recipe.py").read_text(encoding="utf-8") == Path(recipe.__file__).read_text(encoding="utf-8")


def test_the_whole_demo(kddoctor: Command, tmp_path: Path) -> None:  # noqa: F811
    answer = kddoctor("demo", "--output", tmp_path / "demo")
    assert answer.code == 0, answer.err
    sick, treated, again = (answer.out.find(text) for text in ("SICK", "Treated KD106", "HEALTHY"))
    assert 0 < sick < treated < again
    told = json.loads((tmp_path / "demo" / f"{DEFAULT}-treated" / "treatment.json").read_text(encoding="utf-8"))
    assert told["helped"]
    assert told["share_closed"] > 0.8
    assert told["verdict_after"] == "healthy"
    assert kddoctor("diagnose", tmp_path / "demo" / DEFAULT, "--quiet").code == 1
    assert kddoctor("diagnose", tmp_path / "demo" / f"{DEFAULT}-treated", "--quiet").code == 0


def test_a_longer_schedule_is_enough_to_cure_a_short_one(kddoctor: Command, tmp_path: Path) -> None:  # noqa: F811
    name = "undertrained-distillation"
    answer = kddoctor("demo", name, "--output", tmp_path)
    assert answer.code == 0, answer.err
    told = json.loads((tmp_path / f"{name}-treated" / "treatment.json").read_text(encoding="utf-8"))
    assert (told["code"], told["verdict_after"]) == ("KD502", "healthy")


def test_a_fault_that_only_a_human_can_mend(kddoctor: Command, tmp_path: Path) -> None:  # noqa: F811
    answer = kddoctor("demo", "teacher-weights-not-loaded", "--output", tmp_path)
    assert answer.code == 0
    assert "needs a human hand" in answer.out
    assert not (tmp_path / "teacher-weights-not-loaded-treated").exists()


def test_an_unknown_demo_gets_the_nearest_name(kddoctor: Command, tmp_path: Path) -> None:  # noqa: F811
    answer = kddoctor("demo", "alpha-invertd", "--output", tmp_path / "demo")
    assert (answer.code, answer.out) == (2, "")
    assert "did you mean alpha-inverted?" in answer.err
    assert not (tmp_path / "demo").exists()


def test_the_list(kddoctor: Command) -> None:  # noqa: F811
    answer = kddoctor("demo", "--list")
    assert answer.code == 0
    assert all(f"{fault.code} " in answer.out and fault.name in answer.out for fault in FAULTS)


def test_files_that_are_no_demo_stay(kddoctor: Command, tmp_path: Path) -> None:  # noqa: F811
    mine = tmp_path / DEFAULT / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    answer = kddoctor("demo", "--output", tmp_path)
    assert answer.code == 2
    assert "no demo has written" in answer.err
    assert mine.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["--seed=-1", "--seed=x"])
def test_a_seed_is_a_number_from_zero(kddoctor: Command, name: str, tmp_path: Path) -> None:  # noqa: F811
    assert kddoctor("demo", name, "--output", tmp_path).code == 2
