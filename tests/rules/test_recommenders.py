"""Rules about rankings fire on the fault that they name, and on nothing that looks like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from kddoctor.engine import diagnose
from kddoctor.engine.weighing import weigh
from kddoctor.probes.measurements import TeacherView, TeacherViews
from kddoctor.probes.positives_kept import PositivesKept
from kddoctor.probes.row_pairing import RowPairing
from kddoctor.probes.targets_against_own import TargetsAgainstOwn
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import all_rules
from kddoctor.run import load, write_run
from kddoctor.run.manifest import Manifest

MINE = {"KD901", "KD902", "KD903"}
ITEMS, ROWS = 80, 3000


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def binary_kl(student, teacher, temperature):
    p, q = sigmoid(teacher / temperature), sigmoid(student / temperature)
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return temperature**2 * each.mean(axis=-1)


def ranked(
    path,
    *,
    used=lambda teacher: teacher,
    stored=lambda teacher: teacher,
    kd=None,
    loss="kl",
    favour=0.0,
    relabelled=lambda scores, labels: labels,
    known=ITEMS,
    slope=0.8,
):
    """Codes of a two-tower run.

    used, stored: what the loss and the predictions make of the teacher's scores. favour: of popular items, in the
    student; known: items in the transfer set.
    """
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, ITEMS + 1)
    parts = {}
    for split in ("train", "val"):
        share = frequency.copy()
        if split == "train":
            share[known:] = 0
        items = rng.choice(ITEMS, ROWS, p=share / share.sum())
        teacher = rng.normal(scale=1.4, size=ROWS)
        labels = (rng.random(ROWS) < sigmoid(teacher)).astype(np.int64)
        student = slope * teacher + favour * np.log(frequency[items]) + rng.normal(scale=0.3, size=ROWS)
        if split == "train":
            labels = relabelled(teacher, labels)
        parts[split] = {
            "labels": labels,
            "teacher_logits": stored(teacher).astype(np.float32),
            "student_logits": student.astype(np.float32),
            "item_ids": items,
        }
    own = rng.normal(scale=1.4, size=(12, 50))
    got = used(own)
    student = slope * own + rng.normal(scale=0.5, size=own.shape)
    truth = (rng.random(own.shape) < sigmoid(own)).astype(np.int64)
    soft = (kd or (lambda s, t: binary_kl(s, t, 2.0)))(student, got)
    hard = -(truth * np.log(sigmoid(student)) + (1 - truth) * np.log(1 - sigmoid(student))).mean(axis=1)
    write_run(
        path / "run",
        {"task": "ranking", "distillation": {"loss": loss, "temperature": 2.0, "alpha": 0.8}},
        predictions=parts,
        steps={
            "student_logits": student.astype(np.float32),
            "teacher_logits": got.astype(np.float32),
            "teacher_logits_check": own.astype(np.float32),
            "labels": truth,
            "loss": 0.2 * hard + 0.8 * soft,
            "kd_loss": soft,
            "ce_loss": hard,
        },
        observations={"teacher_training": False, "same_inputs": True},
    )
    return diagnose(load(path / "run"))


def mine(found):
    return [code for code in found.cause_codes if code in MINE]


def test_a_sound_ranking_has_none_of_these(tmp_path):
    assert mine(ranked(tmp_path)) == []


@pytest.mark.parametrize("times", [12.0, 0.05])
def test_scores_that_reach_the_loss_rescaled_are_proven(tmp_path, times):
    assert mine(ranked(tmp_path, used=lambda z: times * z)) == ["KD902"]


@pytest.mark.parametrize(("offset", "times"), [(12.0, 3.0), (4.0, 0.5)], ids=["twenty points", "five stars"])
def test_a_teacher_whose_scores_are_all_far_above_zero_gives_no_logits(tmp_path, offset, times):
    def scale(teacher):
        return offset + times * teacher

    found = ranked(tmp_path, used=scale, stored=scale)
    assert found.cause_codes[:1] == ["KD902"]
    assert "KD102" not in found.cause_codes


def test_scores_far_off_any_rate_of_yes_are_no_logits_however_rare_a_yes_is(tmp_path):
    rare = of_predictions(tmp_path / "rare", teacher_times=12.0, offset=50.0, yes=-4.0)
    assert rare.cause_codes[:1] == ["KD902"]
    sampled = of_predictions(tmp_path / "sampled", offset=3.0, yes=-3.0)
    assert "KD902" not in sampled.cause_codes


def of_predictions(path, teacher_times=1.0, student=lambda scores: 0.8 * scores, yes=0.0, offset=0.0):
    """Codes of a ranking of which nothing but scores was recorded.

    yes: log-odds of a yes that no score shows; offset: of the teacher's scores.
    """
    rng = np.random.default_rng(0)
    teacher = rng.normal(scale=1.4, size=ROWS)
    labels = (rng.random(ROWS) < sigmoid(teacher + yes)).astype(np.int64)
    part = {
        "labels": labels,
        "teacher_logits": (teacher_times * teacher + offset).astype(np.float32),
        "student_logits": student(teacher_times * teacher + rng.normal(scale=0.3, size=ROWS)).astype(np.float32),
    }
    meant = {"task": "ranking", "distillation": {"loss": "mse", "temperature": 2.0, "alpha": 0.8}}
    write_run(path / "run", meant, predictions={"val": part})
    return diagnose(load(path / "run"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, False),
        ({"teacher_times": 80.0}, True),
        ({"teacher_times": 6.0}, False),
        ({"student": lambda z: 0.2 * np.tanh(4 * z), "yes": -2.0}, True),
        ({"student": lambda z: 0.1 * z, "yes": -2.0}, False),
        ({"student": lambda z: 0.02 * z - 2.0, "yes": -2.0}, False),
    ],
    ids=["sound", "no logits", "sure of itself", "cosines", "small and free", "a bias and little else"],
)
def test_without_steps_the_size_of_both_scores_tells_of_scales_that_cannot_meet(tmp_path, change, named):
    assert ("KD902" in of_predictions(tmp_path, **change).cause_codes) is named


def as_it_was_made(scores):
    """First weights: all rows a little above zero, and in an order that is by accident rather the wrong one."""
    accident = np.random.default_rng(scores.size).normal(size=scores.shape)
    return 0.1 + 0.02 * (accident - 0.25 * scores)


def test_first_weights_that_happen_to_rank_the_wrong_way_round_are_not_turned(tmp_path):
    codes = ranked(tmp_path / "first", used=as_it_was_made, stored=as_it_was_made).cause_codes
    assert "KD105" not in codes
    turned = ranked(tmp_path / "turned", used=lambda z: -z, stored=lambda z: -z).cause_codes
    assert turned[:1] == ["KD105"]


def test_scores_that_were_calibrated_again_are_sound(tmp_path):
    assert mine(ranked(tmp_path, used=lambda z: 1.3 * z - 0.2)) == []


def test_stars_taken_for_logits_are_proven(tmp_path):
    assert mine(ranked(tmp_path, used=lambda z: 1 + 4 * sigmoid(z))) == ["KD902"]


def test_points_rounded_to_whole_numbers_are_proven(tmp_path):
    assert mine(ranked(tmp_path, used=lambda z: np.round(10 * sigmoid(z)))) == ["KD902"]


def test_scores_rounded_for_storage_are_sound(tmp_path):
    assert "KD902" not in ranked(tmp_path, used=lambda z: np.round(z, 1)).cause_codes


def test_a_list_filled_with_one_value_is_popularity_and_no_other_tensor(tmp_path):
    def listed(scores):
        return np.where(np.arange(scores.shape[1]) % 10 == 0, scores, -4.0)

    assert ranked(tmp_path, used=listed, favour=1.0).cause_codes[0] == "KD901"


def test_a_raw_score_against_a_probability_is_proven(tmp_path):
    found = ranked(tmp_path, kd=lambda s, t: ((s - sigmoid(t)) ** 2).mean(axis=1), loss="mse")
    assert mine(found) == ["KD902"]


def test_raw_scores_on_both_sides_are_sound(tmp_path):
    assert mine(ranked(tmp_path, kd=lambda s, t: ((s - t) ** 2).mean(axis=1), loss="mse")) == []


def test_exchanged_answers_are_no_matter_of_scale(tmp_path):
    assert "KD902" not in ranked(tmp_path, used=lambda z: -z).cause_codes


def test_a_student_that_leans_to_popular_items_beyond_its_teacher_is_named(tmp_path):
    assert mine(ranked(tmp_path, favour=0.6)) == ["KD901"]


def test_a_transfer_set_of_popular_items_is_named(tmp_path):
    assert mine(ranked(tmp_path, known=12)) == ["KD901"]


def test_positives_that_the_teacher_scores_low_and_that_are_gone_are_noticed(tmp_path):
    def filtered(scores, labels):
        return np.where(scores < np.quantile(scores, 0.5), 0, labels)

    assert mine(ranked(tmp_path, relabelled=filtered)) == ["KD903"]


def test_positives_that_the_teacher_foretells_and_that_are_gone_are_noticed(tmp_path):
    found = ranked(tmp_path, relabelled=lambda scores, labels: np.where(scores > 0, 0, labels))
    assert mine(found) == ["KD903"]
    assert "KD105" not in found.cause_codes


def test_labels_that_are_wrong_at_random_are_not_the_teachers(tmp_path):
    def noisy(scores, labels):
        return np.where(np.random.default_rng(1).random(len(labels)) < 0.3, 0, labels)

    assert mine(ranked(tmp_path, relabelled=noisy)) == []


# KD811 where a label is a yes or a no -------------------------------------------------------------------------------


def knowing(favoured: float, better: float) -> Mapping[type, object]:
    """A teacher whose targets favour the label on this share of the rows, and rank those of the loop so much better."""
    validity = TeacherValidityProbe(2)
    validity.update(np.random.default_rng(0).normal(size=(400, 2)), np.arange(400) % 2)
    outside = TeacherView("predictions/train", False, validity.compute(), False, auc=0.87)
    inside = replace(outside, source="steps", in_loop=True, auc=0.87 + better)
    told = TargetsAgainstOwn(400, 0.6, 0.46, 1.0, favoured, favoured, 80, np.nan, 0.3, 0.4, 0.5, 0.8, 0.8)
    views = TeacherViews(outside, outside, inside, student_probabilities=False)
    return {
        Manifest: Manifest(task="ranking", distillation={"loss": "kl"}),
        TeacherViews: views,
        TargetsAgainstOwn: told,
    }


@pytest.mark.parametrize(
    ("favoured", "better", "named"),
    [(0.8, 0.07, True), (0.8, 0.02, False), (0.5, 0.07, False)],
    ids=["later clicks", "noise", "another view"],
)
def test_targets_that_rank_rows_better_than_the_teacher_know_more(favoured, better, named):
    rule = all_rules()["KD811"]
    finding = rule(knowing(favoured, better))
    assert isinstance(finding, Finding)
    assert (weigh(rule, finding).confidence > 0.5) is named


# KD903 by targets that were overwritten ------------------------------------------------------------------------------


def overwriting(changed: float, right: float, wrong: float, task: str = "ranking") -> Mapping[type, object]:
    """Targets of which so many differ from the teacher's; right, wrong: shares of these that give the label more."""
    validity = TeacherValidityProbe(2)
    validity.update(np.random.default_rng(0).normal(size=(400, 2)), np.arange(400) % 2)
    own = TeacherView("predictions/train", False, validity.compute(), False, auc=0.76)
    turned = replace(own, source="predictions/train: teacher_targets", in_loop=True, auc=0.38)
    classes = {} if task == "ranking" else {"num_classes": 2}
    return {
        Manifest: Manifest(task=task, distillation={"loss": "kl"}, **classes),
        TeacherViews: TeacherViews(own, own, turned, student_probabilities=False),
        TargetsAgainstOwn: TargetsAgainstOwn(
            400, 1.5, 0.46, changed, right, wrong, 25, np.nan, 0.4, 0.54, 0.8, 0.65, 0.64
        ),
        RowPairing: RowPairing(1000, 1 - changed, 0.15, 0, np.nan, np.nan, "predictions/train"),
        PositivesKept: PositivesKept(1000, 1000, -1.0, 100, 100, 0.1, 0.14, 0.6, 0.6, 0.6, 0.6),
    }


def sure_of(code: str, measured: Mapping[type, object]) -> float:
    rule = all_rules()[code]
    found = rule(measured)
    return weigh(rule, found).confidence if isinstance(found, Finding) else 0.0


@pytest.mark.parametrize("wrong", [0.0, np.nan], ids=["some were wrong", "none was wrong"])
def test_targets_that_are_changed_against_the_label_alone_were_overwritten(wrong):
    measured = overwriting(0.41, 0.0, wrong)
    assert sure_of("KD903", measured) > 0.9
    for code in ("KD105", "KD106", "KD113"):
        assert sure_of(code, measured) < 0.05


@pytest.mark.parametrize(
    "measured",
    [
        overwriting(0.41, 0.2, 0.6),
        overwriting(1.0, 0.0, 0.0),
        overwriting(0.03, 0.0, 0.0),
        overwriting(0.41, 0.0, 0.0, task="multiclass"),
    ],
    ids=["other rows", "all of them", "hardly any", "classes"],
)
def test_what_else_becomes_of_targets_does_not_overwrite_positives(measured):
    assert sure_of("KD903", measured) < 0.5


def test_other_rows_are_found_where_nothing_was_overwritten():
    assert sure_of("KD106", overwriting(0.41, 0.2, 0.6)) > 0.9
