"""What counts as a cure, and which figures are made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from kddoctor.bench.benchmark import Report, with_treatments_of
from kddoctor.bench.case import Case
from kddoctor.bench.cure import Cure, curable, summarise_cures, summarise_treatment, treatable_codes
from kddoctor.bench.distil import distil
from kddoctor.bench.gate import decide
from kddoctor.bench.own_code import OwnCode
from kddoctor.bench.reach import recoverable
from kddoctor.bench.recording import Cache
from kddoctor.bench.report.tables import cures as cures_table
from kddoctor.bench.report.tables import treated_codes, treatment
from kddoctor.bench.task import find_task
from tests.bench.results import result, sound

DIGITS = find_task("digits")
CURED = Cure("a", "prescription", 0.5, 0.9, 0.9, "KD202", "clothes", True, True, True, "helped")


def test_a_cure_is_the_share_of_the_lost_points_that_came_back():
    assert replace(CURED, treated=0.8).rate == pytest.approx(0.75)
    assert not replace(CURED, treated=0.8).closed
    assert replace(CURED, treated=0.87).closed


def test_a_fault_that_was_missed_or_declined_counts_as_not_cured():
    missed = replace(CURED, key="b", treated=0.5, right=False, said="declined")
    found = summarise_treatment([CURED, missed], [])
    assert (found["closed"]["value"], found["closed"]["n"]) == (0.5, 2)
    assert found["closed"]["low"] < 0.5 < found["closed"]["high"]
    assert (found["closed_right"]["value"], found["closed_wrong"]["value"]) == (1.0, 0.0)
    assert [each["key"] for each in found["not_closed"]] == ["b"]


def test_a_run_without_points_to_bring_back_counts_nowhere():
    idle = replace(CURED, key="b", healthy=0.505, treated=0.4)
    untreatable = replace(CURED, key="c", treatable=False, treated=0.5)
    assert summarise_treatment([CURED, idle, untreatable], [])["closed"]["n"] == 1


def test_experiments_replace_the_prescription_alone_of_the_same_run():
    alone = replace(CURED, treated=0.6)
    found = summarise_treatment([alone, replace(CURED, means="with experiments")], [])
    assert (found["closed"]["value"], found["closed_without_experiments"]["value"]) == (1.0, 0.0)


def test_seen_tasks_are_counted_apart_from_those_left_out():
    found = summarise_treatment([CURED, replace(CURED, key="b", unseen=False, task="digits", treated=0.5)], [])
    assert [found[name]["value"] for name in ("closed", "closed_seen", "closed_all")] == [1.0, 0.0, 0.5]


def test_harm_that_is_said_is_told_from_harm_that_is_not():
    said = replace(CURED, key="b", treated=0.4, said="harmed")
    silent = replace(CURED, key="c", treated=0.4, said="helped")
    found = summarise_treatment([CURED, said, silent], [])
    assert (found["harmed"]["value"], found["harmed_silently"]["value"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_each_code_says_how_many_were_diagnosed_and_cured():
    found = summarise_treatment([CURED, replace(CURED, key="b", treated=0.5, right=False)], [])
    assert found["by_code"] == {"KD202": {"n": 2, "right": 1, "closed": 1, "median": 0.5}}


def test_the_report_shows_every_figure_with_its_target():
    some = [CURED, replace(CURED, key="b", treated=0.4, said="harmed")]
    summary = {"treatment": summarise_treatment(some, [True, True, False]), "cure": summarise_cures(some)}
    rows = {row[0]: row[1:] for row in treatment(summary).rows}
    assert rows["unseen tasks: 0.9 or more of the lost points came back"][0::2] == ("50 %", "≥ 0.9")
    assert rows["of all treated, worse and said to be helped"][2:] == ("≤ 0", "met")
    assert rows["healthy runs that are declined"][0::3] == ("67 %", "missed")
    assert treated_codes(summary).rows == (("KD202", "2", "2", "1", "0.375"),)
    assert cures_table(summary).rows[0] == ("prescription", "2", "0.375", "50 %", "50 %", "50 %")


def test_a_report_without_treatments_keeps_what_the_one_before_said_of_them_with_its_day() -> None:
    some = [CURED, replace(CURED, key="b", treated=0.5, right=False)]
    earlier = {"cure": summarise_cures(some), "treatment": summarise_treatment(some, []), "treated_on": "2026-05-01"}
    fresh = Report({"format": 1}, (), decide([]))
    kept = with_treatments_of(fresh, {**earlier, "unseen": {}}).summary
    assert {name: kept[name] for name in earlier} == earlier
    assert "unseen" not in kept
    for table in (treatment, cures_table):
        assert table(kept).caption.endswith("Not made anew: as of 2026-05-01, by the rules of that day.")
        assert "anew" not in table({**fresh.summary, **earlier}).caption
    assert with_treatments_of(fresh, {"unseen": {}}) is fresh
    assert with_treatments_of(fresh, {**earlier, "tasks": {"digits": {}}}) is fresh, "of other tasks"


def test_controls_are_kept_apart_and_shares_have_both_bounds():
    control = replace(CURED, means="retrained unchanged", treated=0.83, said="")
    of = summarise_cures([CURED, control])
    assert (of["prescription"]["share_09"], of["retrained unchanged"]["share_09"]) == (1.0, 0.0)
    assert (of["retrained unchanged"]["share_08"], of["second diagnosis"]["n"]) == (1.0, 0)


def test_what_a_retraining_can_treat_is_told_from_the_rules():
    assert {"KD103", "KD106", "KD202", "KD502", "KD506", "KD901"} <= treatable_codes() | {"KD901"}
    assert not {"KD402", "KD405", "KD601", "KD704"} & treatable_codes()


def test_one_severe_harmful_fault_of_each_code_and_task_is_treated_whatever_was_said_of_it():
    quiet = [sound(seed, 0.9 + 0.001 * (seed % 2)) for seed in range(6)]
    missed = result("KD202", seed=3)
    found = [missed, result("KD202", ("KD202",), seed=1), result("KD601", ("KD601",), seed=3), *quiet]
    assert curable(found, decide(found)) == [missed]


def case(**changes) -> Case:
    return Case("fault", "digits", "x", ("KD504",), replace(DIGITS.recipe, **changes), 3)


def test_a_retraining_inherits_what_the_authors_functions_do():
    frozen = case(change_student=lambda student: student.requires_grad_(False))
    assert not any(parameter.requires_grad for parameter in OwnCode(frozen).student().parameters())
    half = case(train_set=lambda rows: torch.utils.data.TensorDataset(*(t[:50] for t in rows.tensors)))
    assert len(OwnCode(half).train_data()) == 50
    assert torch.equal(OwnCode(half).val_data().tensors[0], DIGITS.data().val.tensors[0])


def reach_of(case: Case, folder: Path) -> float:
    cache, run = Cache(folder / "cache"), folder / f"run-{case.key}"
    distil(run, DIGITS, case.recipe, seed=case.seed, states=cache.states(), baseline=False, code=True)
    return recoverable(case, 0.96, run, cache)


def test_labels_that_are_wrong_in_the_held_out_rows_are_wrong_for_the_twin_too(tmp_path):
    def half_wrong(data):
        inputs, labels = data.tensors
        return TensorDataset(inputs, torch.where(torch.arange(len(labels)) % 2 == 0, (labels + 1) % 10, labels))

    assert 0.4 < reach_of(case(val_set=half_wrong, epochs=2), tmp_path) < 0.6


def test_another_loop_can_reach_its_healthy_twin_and_another_teacher_cannot(tmp_path):
    assert reach_of(case(temperature=8.0, epochs=2), tmp_path) == 0.96
    weak = case(teacher=replace(DIGITS.recipe.teacher, epochs=1), epochs=2)
    assert reach_of(weak, tmp_path) < 0.96


def test_a_teacher_whose_weights_were_changed_is_another_one_and_one_whose_classes_were_exchanged_is_not(tmp_path):
    def noisy(session):
        for weight in session.teacher.parameters():
            weight.data += torch.randn_like(weight)

    def turned(session):
        last = [module for module in session.teacher.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight.data, last.bias.data = last.weight.roll(1, 0), last.bias.roll(1, 0)

    assert reach_of(case(before=noisy, epochs=2), tmp_path) < 0.96
    assert reach_of(case(before=turned, epochs=2), tmp_path) == 0.96
