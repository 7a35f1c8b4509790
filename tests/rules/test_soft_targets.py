"""Rules about soft targets fire on the fault that they name, and on nothing that looks like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.logit_gradient import LogitGradient
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.non_target_structure import NonTargetStructure
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.probes.teacher_errors import TeacherErrorsBySplit
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses

MINE_OF_SURE = {"KD303", "KD304", "KD305"}
MINE = {"KD302", "KD303", "KD304", "KD305", "KD306", "KD307", "KD308"}
POOR = b.forgetting(0.15)


def diagnosed(path, **changes) -> Diagnosis:
    return diagnose(load(recorded_run(path / "run", **changes)))


def mine(found: Diagnosis) -> list[str]:
    return [code for code in found.cause_codes if code in MINE]


def shortened(k: int, way: str) -> Callable[..., torch.Tensor]:
    def kd(student, teacher, labels):
        values, classes = teacher.topk(k, dim=1)
        log_q = F.log_softmax(student / 4, -1)
        if way == "renormalised":
            log_p = F.log_softmax(values / 4, -1)
            each = (log_p.exp() * (log_p - log_q.gather(1, classes))).sum(1)
        elif way == "clamped":
            log_p = F.log_softmax(teacher / 4, -1).gather(1, classes)
            each = (log_p.exp() * (log_p - log_q.gather(1, classes))).sum(1).clamp_min(0)
        elif way == "zeros":
            log_p = F.log_softmax(torch.zeros_like(teacher).scatter(1, classes, values) / 4, -1)
            each = (log_p.exp() * (log_p - log_q)).sum(1)
        else:
            log_p = F.log_softmax(teacher / 4, -1).gather(1, classes)
            rest, own = 1 - log_p.exp().sum(1), 1 - log_q.gather(1, classes).exp().sum(1)
            each = (log_p.exp() * (log_p - log_q.gather(1, classes))).sum(1) + rest * (rest.log() - own.log())
        return 16 * each.mean()

    return kd


@pytest.mark.parametrize("way", ["renormalised", "clamped", "zeros"])
def test_a_shortened_teacher_is_proven(tmp_path, way):
    found = diagnosed(tmp_path, kd=shortened(3, way))
    assert (found.verdict, found.cause_codes, found.causes[0].status) == ("sick", ["KD306"], "confirmed")
    assert "first 3 of 10 classes" in found.causes[0].summary


def nucleus(student, teacher, labels):
    """The likeliest classes of a softened row up to nine tenths of it, rescaled."""
    p, classes = F.softmax(teacher / 4, -1).sort(dim=1, descending=True)
    kept = p * (p.cumsum(1) - p < 0.9)
    targets = torch.zeros_like(teacher).scatter(1, classes, kept / kept.sum(1, keepdim=True))
    return 16 * F.kl_div(F.log_softmax(student / 4, -1), targets, reduction="batchmean")


def least_in_place_of_others(student, teacher, labels):
    """What a service left out has the least logit that it returned."""
    values, classes = teacher.topk(3, dim=1)
    filled = values[:, -1:].expand_as(teacher).scatter(1, classes, values)
    return losses.kl()(student, filled, labels)


def best_of_the_student(student, teacher, labels):
    """What the student overlooks it never hears of."""
    classes = student.topk(3, dim=1).indices
    log_q, log_p = (F.log_softmax(z / 4, -1).gather(1, classes) for z in (student, teacher))
    return 16 * (log_p.exp() * (log_p - log_q)).sum(1).mean()


def first_of_the_list(student, teacher, labels):
    return 16 * F.kl_div(
        F.log_softmax(student[:, :6] / 4, -1), F.softmax(teacher[:, :6] / 4, -1), reduction="batchmean"
    )


@pytest.mark.parametrize("kd", [nucleus, least_in_place_of_others, best_of_the_student, first_of_the_list])
def test_a_list_is_found_whatever_ends_it_and_fills_it_up(tmp_path, kd):
    assert diagnosed(tmp_path, kd=kd).cause_codes == ["KD306"]


def test_a_tail_bucket_is_sound(tmp_path):
    found = diagnosed(tmp_path, kd=shortened(3, "bucket"))
    assert "KD306" not in found.cause_codes
    assert "KD306" in found.ruled_out


def test_another_divergence_is_not_taken_for_a_shortened_teacher(tmp_path):
    def odd(student, teacher, labels):
        return losses.kl(1.0)(student, teacher, labels) + losses.kl(7.0)(student, teacher, labels)

    assert "KD306" not in diagnosed(tmp_path, kd=odd).cause_codes


def test_a_high_temperature_without_its_factor_starves_the_term(tmp_path):
    found = diagnosed(
        tmp_path,
        kd=losses.kl(60.0, scale="1"),
        declared={"temperature": 60.0, "temperature_squared": False},
    )
    assert "KD302" in found.cause_codes


def test_a_high_temperature_with_its_factor_is_sound(tmp_path):
    assert mine(diagnosed(tmp_path, declared={"temperature": 60.0})) == []


def test_a_forgotten_factor_keeps_its_own_code(tmp_path):
    found = diagnosed(tmp_path, kd=losses.kl(60.0, scale="1"), declared={"temperature": 60.0})
    assert "KD202" in found.cause_codes
    assert "KD302" not in found.cause_codes


def smoothed(logits, labels):
    """What a smoothing by 0.3 asks for, with a little noise."""
    top = np.eye(logits.shape[1])[labels]
    noise = np.random.default_rng(1).normal(scale=0.15, size=logits.shape)
    return (np.log(0.7 * top + 0.03) - np.log(0.03) + noise).astype(np.float32)


def test_a_teacher_that_was_smoothed_is_named_where_its_student_falls_behind(tmp_path):
    found = diagnosed(tmp_path, teacher=smoothed, student=POOR, baseline=POOR)
    assert "KD303" in found.cause_codes


def regressed(logits, labels):
    """Sure of the top class, and the same number for all others."""
    noise = np.random.default_rng(1).normal(scale=0.3, size=logits.shape)
    return (9 * np.eye(logits.shape[1])[labels] + noise).astype(np.float32)


def test_other_classes_that_are_all_alike_are_named_however_sure_the_teacher_is(tmp_path):
    assert "KD303" in diagnosed(tmp_path, teacher=regressed, student=POOR, baseline=POOR).cause_codes


def test_a_smoothed_teacher_whose_student_gained_is_a_note(tmp_path):
    found = diagnosed(tmp_path, teacher=smoothed, baseline=POOR)
    assert all(f.severity == "note" for f in found.causes if f.code == "KD303")


@pytest.mark.parametrize(
    ("surest", "expected"),
    [
        (SurestRows(100, 0.95, 0.49, 0.7, 0.08), "KD303"),
        (SurestRows(100, 0.98, 0.70, 0.35, 0.16), "KD304"),
        # Not half as sure as right, its answers in order: no share of wrong labels leaves a teacher so good.
        (SurestRows(100, 0.98, 0.15, 0.65, 0.43), "KD305"),
        # Decoys are of a few classes: KD307.
        (SurestRows(100, 0.98, 0.70, 0.001, 0.3), None),
        # As sure as right, and about as sure as right: ordinary teachers of easy and of hard tasks.
        (SurestRows(100, 0.97, 0.99, 0.0, 0.31), None),
        (SurestRows(100, 0.93, 0.91, 0.03, 0.08), None),
        # A smoothing by a tenth is what many sound teachers had.
        (SurestRows(100, 0.99, 0.90, 0.7, 0.08), None),
    ],
)
def test_a_teacher_that_is_not_sure_of_what_it_is_surest_of_was_taught_so(tmp_path, surest, expected):
    measured = dict(measure(load(recorded_run(tmp_path / "run", student=POOR, baseline=POOR))))
    measured[SurestRows] = surest
    sure = {code: weigh(rule, rule(measured)).confidence for code, rule in all_rules().items() if code in MINE_OF_SURE}
    assert [code for code, value in sure.items() if value > 0.5] == ([] if expected is None else [expected])


def decoys(logits, labels):
    """Besides the right class, one that has nothing to do with it."""
    noise = np.random.default_rng(2).normal(size=logits.shape)
    eye = np.eye(logits.shape[1])
    return (9 * eye[labels] + 6 * eye[(labels + 4) % logits.shape[1]] + noise).astype(np.float32)


def exchanged(logits, labels):
    """Everything below the top class in another order in each row."""
    rng = np.random.default_rng(4)
    changed = logits.copy()
    for row, label in zip(changed, logits.argmax(axis=1), strict=True):
        others = np.flatnonzero(np.arange(len(row)) != label)
        row[others] = row[rng.permutation(others)]
    return changed


@pytest.mark.parametrize("guard", [decoys, exchanged])
def test_a_teacher_that_is_right_and_says_nothing_true_of_the_others_is_named(tmp_path, guard):
    found = diagnosed(tmp_path, teacher=guard, student=POOR, baseline=POOR)
    assert "KD307" in found.cause_codes


@pytest.mark.parametrize(("followed", "named"), [(0.02, True), (None, True), (0.6, False)])
def test_other_classes_that_the_student_finds_again_on_new_rows_hang_on_the_input(tmp_path, followed, named):
    """As where a class is of many kinds, each of which is like others."""
    measured = dict(measure(load(recorded_run(tmp_path / "run", teacher=exchanged, student=POOR))))
    found = measured[NonTargetStructure]
    assert found.structure < 0.1
    assert abs(found.followed) < 0.2
    measured[NonTargetStructure] = replace(found, followed=followed)
    rule = all_rules()["KD307"]
    assert (weigh(rule, rule(measured)).confidence > 0.5) is named


def test_a_twin_that_learned_nothing_says_nothing_of_the_teacher(tmp_path):
    assert "KD307" not in diagnosed(tmp_path, student=POOR, baseline=b.untrained).cause_codes


def annotated(logits, labels):
    """A third of the rows were labelled one class too high."""
    wrong = np.random.default_rng(6).random(len(labels)) < 0.3
    changed = logits.copy()
    changed[wrong] = np.roll(logits[wrong], 1, axis=1)
    return changed


def test_a_teacher_whose_mistakes_have_a_direction_learned_wrong_labels(tmp_path):
    found = diagnosed(tmp_path, teacher=annotated, student=annotated, baseline=b.unchanged)
    assert found.cause_codes == ["KD304"]
    assert "KD102" in [f.code for f in found.symptoms]


def test_a_weak_teacher_did_not_learn_wrong_labels(tmp_path):
    assert "KD304" not in diagnosed(tmp_path, teacher=b.forgetting(0.3), baseline=b.unchanged).cause_codes


def test_two_exchanged_classes_are_not_taken_for_wrong_labels(tmp_path):
    found = diagnosed(tmp_path, teacher=b.permuted([1, 2, 3, 4, 5, 6, 7, 8, 9, 0]))
    assert "KD304" not in found.cause_codes


def bounded(logits, labels):
    return np.tanh(5 * (logits - logits.mean(axis=1, keepdims=True))).astype(np.float32)


def test_a_student_whose_logits_stand_at_a_bound_is_named(tmp_path):
    def poor(logits, labels):
        return bounded(POOR(logits, labels), labels)

    assert "KD305" in diagnosed(tmp_path, student=poor).cause_codes


def of_one_length(logits, labels):
    """Rows of length 1, as a normalisation at the end leaves them."""
    centred = (POOR(logits, labels) - logits.mean(axis=1, keepdims=True)) ** 3  # most of it is in the top one
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)


def test_a_bound_costs_what_the_teacher_knows_though_a_twin_with_the_same_bound_is_worse(tmp_path):
    def worse(logits, labels):
        return of_one_length(b.forgetting(0.3)(logits, labels), labels)

    def student(logits, labels):
        return of_one_length(b.forgetting(0.1)(logits, labels), labels)

    found = diagnosed(tmp_path, student=student, baseline=worse)
    assert (found.verdict, found.cause_codes[0]) == ("sick", "KD305")
    assert found.causes[0].severity == "warning"


def test_a_student_whose_rows_all_have_one_length_is_named(tmp_path):
    assert "KD305" in diagnosed(tmp_path, student=of_one_length).cause_codes


def weak(logits, labels):
    """The first two classes of two rows in three are exchanged: right on few, and in nearly the right order."""
    swapped, rows = logits.copy(), np.flatnonzero(np.arange(len(logits)) % 3)
    second, first = np.argsort(logits[rows], axis=1)[:, -2:].T
    swapped[rows, first], swapped[rows, second] = logits[rows, second], logits[rows, first]
    return swapped


def test_a_bound_shows_in_a_student_that_is_right_on_few_rows(tmp_path):
    def bounded_and_weak(logits, labels):
        centred = (weak(logits, labels) - logits.mean(axis=1, keepdims=True)) ** 3
        return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)

    def small_and_weak(logits, labels):
        return (0.1 * weak(logits, labels)).astype(np.float32)

    def one_answer(logits, labels):
        return (np.eye(10)[3] + 0.01 * logits).astype(np.float32)

    rule = all_rules()["KD305"]
    sure = {}
    for student in (bounded_and_weak, small_and_weak, one_answer):
        measured = dict(measure(load(recorded_run(tmp_path / student.__name__, student=student))))
        sure[student.__name__] = weigh(rule, rule(measured)).confidence
    assert sure["bounded_and_weak"] > 0.5
    assert max(sure["small_and_weak"], sure["one_answer"]) < 0.1


def test_a_student_that_has_hardly_grown_is_not_bounded(tmp_path):
    def small(logits, labels):
        return (0.1 * POOR(logits, labels)).astype(np.float32)

    assert "KD305" not in diagnosed(tmp_path, student=small).cause_codes


def test_a_small_student_whose_parameters_get_a_fraction_of_its_logits_gradient_is_multiplied(tmp_path):
    def small(logits, labels):
        return (0.1 * POOR(logits, labels)).astype(np.float32)

    measured = dict(measure(load(recorded_run(tmp_path / "run", student=small))))
    rule = all_rules()["KD305"]
    sure = {}
    for arrives in (0.05, 3.0):
        measured[LogitGradient] = LogitGradient(arrives, 8)
        sure[arrives] = weigh(rule, rule(measured)).confidence
    assert sure[0.05] > 0.5 > sure[3.0]


def test_a_teacher_beyond_every_temperature_is_named_before_its_hard_targets(tmp_path):
    found = diagnosed(tmp_path, teacher=b.sharpened(60.0), student=POOR, baseline=POOR)
    assert "KD305" in found.cause_codes
    assert "KD301" not in found.cause_codes


def test_targets_that_no_usual_temperature_softens_are_collapsed_beside_a_gain(tmp_path):
    """A gain speaks against targets that are hard at T = 1 only, and not as much against those of a huge scale."""
    rule, sure = all_rules()["KD301"], {}
    for times in (3.0, 60.0):
        run = recorded_run(
            tmp_path / str(times),
            teacher=b.sharpened(times),
            student=POOR,
            baseline=b.forgetting(0.4),
            declared={"temperature": 1.0},
        )
        sure[times] = weigh(rule, rule(measure(load(run)))).confidence
    assert sure[60.0] > 0.5 > sure[3.0]


def test_a_gain_is_weighed_by_the_rows_that_the_two_students_differ_on(tmp_path):
    found = measure(load(recorded_run(tmp_path / "run", student=POOR, baseline=POOR)))[Gaps]
    assert isinstance(found, Gaps)
    gaps = replace(found.gaps, n=600, student_accuracy=0.775, student_only_right=25, baseline_only_right=10)
    assert replace(found, gaps=gaps, baseline_accuracy=0.75).surely_gained
    for changed in ({"baseline_only_right": None}, {"student_only_right": 115, "baseline_only_right": 100}):
        assert not replace(found, gaps=replace(gaps, **changed), baseline_accuracy=0.75).surely_gained


def test_wrong_answers_known_by_heart_are_wrong_labels_where_the_labels_alone_do_better(tmp_path):
    run = recorded_run(tmp_path / "run", teacher=b.forgetting(0.3), student=POOR, baseline=b.forgetting(0.1, 6))
    measured = dict(measure(load(run)))
    split = measured[TeacherErrorsBySplit]
    assert isinstance(split, TeacherErrorsBySplit)
    assert split.train is not None
    assert split.held_out is not None
    rule, sure = all_rules()["KD304"], {}
    held_out = replace(split.held_out, confident_rows=split.held_out.rows // 2)
    heart = replace(split.train, confident_rows=int(0.96 * split.train.rows), confident_wrong=0.23)
    for name, train in {
        "by heart": heart,
        "no surer than of new rows": replace(heart, confident_rows=held_out.confident_rows),
        "right where sure": replace(heart, confident_wrong=0.05),
    }.items():
        measured[TeacherErrorsBySplit] = TeacherErrorsBySplit(train, held_out)
        sure[name] = weigh(rule, rule(measured)).confidence
    assert sure["by heart"] > 0.5
    assert max(value for name, value in sure.items() if name != "by heart") < 0.1
    # Where the teacher is better on new rows, it is the labels that are wrong.
    measured[TeacherErrorsBySplit] = TeacherErrorsBySplit(heart, held_out)
    gaps = measured[Gaps]
    assert isinstance(gaps, Gaps)
    measured[Gaps] = replace(gaps, baseline_accuracy=gaps.gaps.teacher_accuracy - 0.1)
    assert weigh(rule, rule(measured)).confidence < 0.1


def test_rows_that_a_teacher_is_less_sure_of_are_harder_and_not_wrongly_labelled(tmp_path):
    measured = dict(measure(load(recorded_run(tmp_path / "run", student=POOR, baseline=b.unchanged))))
    split = measured[TeacherErrorsBySplit]
    assert isinstance(split, TeacherErrorsBySplit)
    assert split.train is not None
    rule, sure = all_rules()["KD304"], {}
    for name, confident in {"harder": 0.26, "learned": 0.31}.items():
        of_both = {"confident_wrong": 0.04, "repeated": None, "twin_repeated": None}
        held_out = replace(split.train, rows=1000, wrong=264, confident_rows=290, **of_both)
        train = replace(held_out, rows=400, wrong=149, confident_rows=int(400 * confident))
        measured[TeacherErrorsBySplit] = TeacherErrorsBySplit(train, held_out)
        sure[name] = weigh(rule, rule(measured)).confidence
    assert sure["learned"] > 0.5
    assert sure["harder"] < 0.1


def test_a_teacher_at_a_low_temperature_keeps_its_own_code(tmp_path):
    found = diagnosed(tmp_path, teacher=b.sharpened(60.0), student=POOR, baseline=POOR, declared={"temperature": 1.0})
    assert "KD305" not in found.cause_codes


def test_an_ensemble_cannot_be_seen_without_its_members(tmp_path):
    assert "KD308" in [missing.code for missing in diagnosed(tmp_path).not_examined]


@pytest.mark.parametrize(
    "kept", [{}, {"temperature": 1.0}, {"temperature": 20.0}, {"alpha": 0.5}], ids=["plain", "T 1", "T 20", "half"]
)
def test_a_sound_run_has_none_of_these(tmp_path, kept):
    alpha = kept.get("alpha", 0.9)
    assert mine(diagnosed(tmp_path, declared=kept, mix=(1 - alpha, alpha), baseline=b.forgetting(0.1))) == []


def drained(logits, labels):
    """A rule gave a third of the rows of all classes to class 5."""
    wrong = np.random.default_rng(6).random(len(labels)) < 0.3
    changed = logits.copy()
    changed[wrong] = logits[wrong].min(axis=1, keepdims=True)
    changed[wrong, 5] += 20
    return changed


def test_a_teacher_that_is_sure_of_one_wrong_answer_learned_it_from_a_rule(tmp_path):
    found = diagnosed(tmp_path, teacher=drained, student=drained, baseline=b.unchanged)
    assert found.cause_codes == ["KD304"]


def test_mistakes_that_a_twin_makes_as_well_are_those_of_the_labels(tmp_path):
    found = diagnosed(tmp_path, teacher=drained, student=drained, baseline=drained)
    assert "KD304" not in found.cause_codes
