"""Faults of the data are named, and told from what looks like them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.class_recall import ClassRecall
from kddoctor.probes.data_measurements import ClassRecalls, LabelDoubts, SplitOverlap
from kddoctor.probes.label_doubt import LabelDoubt
from kddoctor.probes.measurements import TeacherView, TeacherViews, TrainGaps
from kddoctor.probes.rate_signs import RateSigns
from kddoctor.probes.row_overlap import NearOverlap, RowOverlap
from kddoctor.probes.teacher_passes import TeacherPasses
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.rules.data.class_level_regression import class_level_regression
from kddoctor.rules.data.train_test_leakage import train_test_leakage
from kddoctor.rules.finding import Grade
from kddoctor.rules.pipeline.merged_classes import kept_from
from kddoctor.rules.registry import all_rules
from kddoctor.run import load, write_run
from kddoctor.run.manifest import Manifest
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses
from tests.rules.splits import diagnosed, part


def test_a_sound_run_is_not_accused_of_its_data(tmp_path):
    found = diagnosed(tmp_path, part(500, 1), part(500, 2))
    assert [code for code in found.cause_codes if code.startswith("KD6")] == []
    assert set(found.ruled_out) >= {"KD606"}


def test_held_out_rows_among_the_training_rows_are_a_leak(tmp_path):
    train, val = part(500, 1), part(500, 2)
    val["fingerprint"][:50] = train["fingerprint"][:50]
    found = diagnosed(tmp_path, train, val)
    assert found.cause_codes == ["KD601"]
    assert found.causes[0].status == "confirmed"


def test_data_that_repeat_themselves_are_no_proof_of_a_leak(tmp_path):
    """A few of them far more often than others, as words do."""
    train, val = part(500, 1), part(500, 2)
    for split, seed in ((train, 1), (val, 2)):
        split["fingerprint"] = np.random.default_rng(seed).zipf(1.5, size=500)
    assert "KD601" not in diagnosed(tmp_path, train, val).cause_codes


@pytest.mark.parametrize("times", [2, 4])
def test_rows_that_were_all_copied_before_they_were_split_are_a_leak(tmp_path, times):
    train, val = part(500, 1), part(500, 2)
    pool = np.random.default_rng(1).permutation(np.arange(500 * times) % 500)
    train["fingerprint"], val["fingerprint"] = pool[:500], pool[500:1000]
    found = diagnosed(tmp_path, train, val)
    assert found.cause_codes == ["KD601"]
    assert "rows are repeated evenly" in str(found.causes[0])


@pytest.mark.parametrize(("clumped", "proof"), [(2.1, False), (0.8, True)])
def test_rows_that_recur_among_the_held_out_ones_recur_in_training_as_well(clumped, proof):
    """Training rows that were altered do not recur, and held-out ones that were copied do for another reason."""
    words = RowOverlap(3000, 1200, 16, distinct=2996, repeated=0.002, repeated_held_out=0.013, clumped=clumped)
    grades = {e.grade for e in train_test_leakage(SplitOverlap(words, None)).supporting}
    assert grades == {Grade.PROOF if proof else Grade.STATISTICAL}


def test_held_out_rows_that_are_noisy_copies_are_a_leak(tmp_path):
    train, val = part(500, 1), part(500, 2)
    val["inputs"][:60] = train["inputs"][:60] + np.float32(0.01)
    assert diagnosed(tmp_path, train, val).cause_codes == ["KD601"]


def test_a_few_training_rows_do_not_show_that_rows_never_crowd():
    few = NearOverlap(train=20, held_out=256, near=6, expected=0.0, radius=0.5)
    assert not train_test_leakage(SplitOverlap(None, few)).supporting
    assert train_test_leakage(SplitOverlap(None, replace(few, train=500))).supporting


def test_classes_that_are_not_trained_on_are_missing(tmp_path):
    train = part(500, 1, labels=np.arange(500) % 8)

    def forgetful(logits, labels):
        logits = logits.copy()
        logits[labels >= 8] = np.roll(logits[labels >= 8], 3, axis=1)
        return logits

    found = diagnosed(tmp_path, train, part(500, 2, forgetful))
    assert found.cause_codes[0] == "KD606"
    assert "KD604" not in found.cause_codes


def test_missing_classes_that_were_learnt_all_the_same_are_a_note(tmp_path):
    found = diagnosed(tmp_path, part(500, 1, labels=np.arange(500) % 8), part(500, 2))
    assert [f.severity for f in found.causes if f.code == "KD606"] == ["note"]


def _worse_on(classes, logits, labels):
    logits = logits.copy()
    hit = np.isin(labels, classes) & (np.arange(len(labels)) % 3 > 0)
    logits[hit, labels[hit]] = logits[hit].min(axis=1) - 1
    return logits


def test_two_classes_that_pay_are_named(tmp_path):
    def change(logits, labels):
        return _worse_on([4, 9], logits, labels)

    found = diagnosed(tmp_path, part(500, 1, change), part(500, 2, change))
    assert found.cause_codes == ["KD604"]
    assert "4, 9" in str(found.causes[0])


def _called_by_a_siblings_name(split, share=0.9):
    """Teacher and student that call most rows of class 4 a 9."""
    hit = (split["labels"] == 4) & (np.random.default_rng(5).random(len(split["labels"])) < share)
    for name in ("teacher_logits", "student_logits"):
        split[name] = split[name].copy()
        split[name][hit, 9] = split[name][hit].max(axis=1) + 1
    return split


def test_a_class_that_its_teacher_calls_by_another_name_is_named(tmp_path):
    found = diagnosed(tmp_path, *(_called_by_a_siblings_name(part(800, draw)) for draw in (1, 2)))
    assert found.cause_codes == ["KD604"]
    assert "classes 4" in str(found.causes[0])


def _without_a_class(split, twin):
    """Teacher and student that never saw class 4, and a twin that did."""
    for name in ("teacher_logits", "student_logits"):
        split[name] = split[name].copy()
        split[name][:, 4] = split[name].min(axis=1) - 8
    return {**split, "baseline_logits": twin}


def test_a_class_that_its_teacher_never_answers_is_named_where_a_twin_finds_it(tmp_path):
    twins = [part(800, draw, b.forgetting(0.2))["student_logits"] for draw in (1, 2)]
    train, val = (_without_a_class(part(800, draw), twins[draw - 1]) for draw in (1, 2))
    found = [diagnosed(tmp_path, train, val)]
    for kind in ("predictions", "inputs", "fingerprints"):
        (tmp_path / "run" / kind / "train.safetensors").unlink()
    found.append(diagnose(load(tmp_path / "run")))
    for one in found:
        assert one.cause_codes[0] == "KD604"
        assert "classes 4" in str(one.causes[0])


def test_a_class_that_a_teacher_finds_hard_gets_its_share_of_probability():
    labels = np.random.default_rng(0).integers(0, 4, 4000)
    knows, hard = np.full((4000, 4), -8.0), np.full((4000, 4), -8.0)
    for logits in (knows, hard):
        logits[np.arange(4000), np.where(labels == 3, 2, labels)] = 4.0
    # Of rows like those of class 2 half are of class 3: the other class is a little likelier on every one.
    hard[labels >= 2, 2:] = [0.1, 0.0]
    for logits, never in ((knows, [False, False, False, True]), (hard, 4 * [False])):
        probe = TeacherValidityProbe(4)
        probe.update(logits, labels)
        assert kept_from([probe.compute()]).tolist() == never


def test_a_class_without_a_name_contradicts_its_teacher_however_right_its_labels_are():
    doubt = LabelDoubt(1000, 0.4, 0.33, 500, 0.38, 0.31, 0.01, 0.65, 0.41, 0.44, 0.31, np.full(10, 0.4))
    silent = replace(doubt, by_class=np.array([1.0] + 9 * [0.3]))
    probe, rng = TeacherValidityProbe(10), np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(10), [300] + 9 * [78]))
    probe.update(6 * np.eye(10)[np.where(labels == 0, rng.integers(1, 10, len(labels)), labels)], labels)
    views = TeacherViews(TeacherView("predictions/val", False, probe.compute(), False), None, None, False)
    rule = all_rules()["KD605"]
    for doubts, named in ((doubt, True), (silent, False)):
        found = rule({LabelDoubts: LabelDoubts(None, doubts), TeacherViews: views})
        assert (weigh(rule, found).confidence > 0.5) is named


def test_wrong_labels_show_in_recorded_steps_where_no_training_rows_were_kept(tmp_path):
    world = b.World(noise=1.0)
    held_out = part(600, 2)
    truth = [world.labels(64, 100 + k) for k in range(8)]
    teacher = np.stack([world.teacher(labels, 100 + k) for k, labels in enumerate(truth)])
    rng = np.random.default_rng(3)
    labels = np.stack(truth)
    labels = np.where(rng.random(labels.shape) < 0.3, (labels + rng.integers(1, 10, labels.shape)) % 10, labels)
    student = np.stack([world.student(rows, 100 + k) for k, rows in enumerate(teacher)])
    steps = {"teacher_logits": teacher, "student_logits": student, "labels": labels}
    steps |= b.losses_of(steps, losses.kl(2.0))
    run = write_run(
        tmp_path / "run",
        {
            "task": "multiclass",
            "num_classes": 10,
            "distillation": {"loss": "kl", "temperature": 2.0, "alpha": 0.9},
        },
        predictions={"val": {name: held_out[name] for name in ("labels", "teacher_logits", "student_logits")}},
        steps=steps,
    )
    assert diagnose(load(run)).cause_codes == ["KD605"]


def test_a_class_that_the_student_learnt_in_spite_of_its_teacher_is_not(tmp_path):
    splits = [_called_by_a_siblings_name(part(800, draw)) for draw in (1, 2)]
    for split, draw in zip(splits, (1, 2), strict=True):
        split["student_logits"] = part(800, draw)["student_logits"]
    assert "KD604" not in diagnosed(tmp_path, *splits).cause_codes


def test_a_student_that_is_poor_on_all_classes_has_no_regression_of_some(tmp_path):
    found = diagnosed(tmp_path, part(500, 1, b.forgetting(0.3)), part(500, 2, b.forgetting(0.3)))
    assert "KD604" not in found.cause_codes


def _noisy(split, share=0.3):
    rng = np.random.default_rng(3)
    wrong = rng.random(len(split["labels"])) < share
    split["labels"] = np.where(wrong, (split["labels"] + rng.integers(1, 10, len(wrong))) % 10, split["labels"])
    return split


def test_wrong_labels_are_told_from_a_bad_teacher(tmp_path):
    assert diagnosed(tmp_path, _noisy(part(600, 1)), _noisy(part(600, 2))).cause_codes == ["KD605"]


def _learnt_by_heart(split):
    """A student that gives each row the label that it has, right or wrong."""
    split["student_logits"] = np.asarray(6 * np.eye(10)[split["labels"]], np.float32) + split["student_logits"] / 10
    return split


def test_wrong_labels_of_training_rows_that_the_student_learnt_by_heart(tmp_path):
    # Nobody contradicts them but the teacher, which is as sure of these rows as of the clean ones.
    found = diagnosed(tmp_path, _learnt_by_heart(_noisy(part(800, 1))), part(600, 2, b.forgetting(0.2)))
    assert found.cause_codes[0] == "KD605"
    assert "the teacher is as sure of the rows of both" in found.findings[0].evidence[0].text


def test_rows_that_look_like_no_held_out_row_have_no_wrong_labels_by_the_teachers_word(tmp_path):
    train = _learnt_by_heart(_noisy(part(800, 1)))
    train["inputs"] = train["inputs"] + np.float32(3)
    assert diagnosed(tmp_path, train, part(600, 2, b.forgetting(0.2))).cause_codes[0] == "KD603"


def test_a_teacher_that_is_unsure_of_training_rows_does_not_make_their_labels_wrong(tmp_path):
    train = _learnt_by_heart(_noisy(part(800, 1)))
    train["teacher_logits"] = train["teacher_logits"] / 4
    assert "KD605" not in diagnosed(tmp_path, train, part(600, 2, b.forgetting(0.2))).cause_codes


def test_a_teacher_that_errs_where_it_is_unsure_does_not_make_labels_wrong(tmp_path):
    def unsure(split):
        wrong = np.arange(len(split["labels"])) % 3 == 0
        split["teacher_logits"][wrong] = np.roll(split["teacher_logits"][wrong], 1, axis=1) / 8
        split["student_logits"][wrong] = split["teacher_logits"][wrong]
        return split

    assert "KD605" not in diagnosed(tmp_path, unsure(part(600, 1)), unsure(part(600, 2))).cause_codes


def test_in_one_split_the_labels_own_student_tells_wrong_labels_from_a_bad_teacher():
    doubt = LabelDoubt(1000, 0.4, 0.33, 500, 0.38, 0.31, 0.01, 0.65, 0.41, 0.44, 0.31, np.full(10, 0.4))
    assert sureness("KD605", LabelDoubts(None, doubt)) > 0.8
    assert sureness("KD605", LabelDoubts(None, replace(doubt, baseline_with_labels=0.44))) < 0.5
    assert sureness("KD605", LabelDoubts(None, replace(doubt, sure_agreed=0.1))) < 0.5


def sureness(code, measured):
    rule = all_rules()[code]
    return weigh(rule, rule({type(measured): measured})).confidence


def test_permuted_classes_are_not_taken_for_wrong_labels(tmp_path):
    def permuted(split):
        for name in ("teacher_logits", "student_logits"):
            split[name] = split[name][:, [1, 0, 3, 2, 4, 5, 6, 7, 8, 9]]
        return split

    assert "KD605" not in diagnosed(tmp_path, permuted(part(600, 1)), permuted(part(600, 2))).cause_codes


def test_few_rows_that_are_learnt_by_heart_are_too_few(tmp_path):
    found = diagnosed(tmp_path, part(60, 1), part(600, 2, b.forgetting(0.35)))
    assert found.cause_codes == ["KD602"]


@pytest.mark.parametrize(("alpha", "named"), [(0.05, False), (0.9, True)])
def test_labels_learnt_by_heart_say_nothing_of_rows_that_would_show_the_teacher(tmp_path, alpha, named):
    diagnosed(tmp_path, part(60, 1), part(600, 2, b.forgetting(0.35)))
    measured = dict(measure(load(tmp_path / "run")))
    train, config = measured[TrainGaps], measured[Manifest]
    assert isinstance(train, TrainGaps)
    assert isinstance(config, Manifest)
    measured[TrainGaps] = replace(train, gaps=replace(train.gaps, student_accuracy=1.0, agreement=0.8))
    meant = config.distillation.model_copy(update={"alpha": alpha})
    measured[Manifest] = config.model_copy(update={"distillation": meant})
    rule = all_rules()["KD602"]
    assert (weigh(rule, rule(measured)).confidence > 0.5) is named


def test_a_small_set_from_which_most_is_learnt_is_small_and_no_fault(tmp_path):
    # As of 500 posts in 20 groups, of which a sound student keeps half of its teacher's skill.
    found = diagnosed(tmp_path, part(250, 1), part(600, 2, b.forgetting(0.35)))
    assert "KD602" not in found.cause_codes


def test_a_few_rows_that_are_nearly_learnt_by_heart_are_too_few_and_not_undertrained(tmp_path):
    found = diagnosed(tmp_path, part(150, 1, b.forgetting(0.06)), part(600, 2, b.forgetting(0.5)))
    assert found.cause_codes == ["KD602"]


def _altered(split, originals):
    """All rows are the first few, with a little noise."""
    chosen = np.arange(len(split["labels"])) % originals
    for name in ("labels", "teacher_logits", "student_logits", "inputs"):
        split[name] = split[name][chosen]
    noise = np.random.default_rng(4).normal(size=split["inputs"].shape)
    split["inputs"] = split["inputs"] + 0.02 * noise.astype(np.float32)
    return split


def test_altered_copies_of_a_few_rows_are_too_few_and_from_the_right_place(tmp_path):
    found = diagnosed(tmp_path, _altered(part(400, 1), 30), part(600, 2, b.forgetting(0.35)))
    assert found.cause_codes == ["KD602"]


def test_altered_copies_that_make_a_good_student_are_no_fault(tmp_path):
    assert diagnosed(tmp_path, _altered(part(400, 1), 30), part(600, 2, b.forgetting(0.05))).cause_codes == []


def test_classes_that_are_missing_together_are_missing_although_rows_are_few(tmp_path):
    def forgetful(logits, labels):
        logits = logits.copy()
        logits[labels >= 5] = np.roll(logits[labels >= 5], 3, axis=1)
        return logits

    found = diagnosed(tmp_path, part(40, 1, labels=np.arange(40) % 5), part(500, 2, forgetful))
    assert found.cause_codes[0] == "KD606"


def test_few_rows_that_make_a_good_student_are_enough(tmp_path):
    assert "KD602" not in diagnosed(tmp_path, part(60, 1), part(600, 2, b.forgetting(0.05))).cause_codes


def test_a_student_that_does_not_fit_its_training_rows_has_not_too_few(tmp_path):
    found = diagnosed(tmp_path, part(60, 1, b.forgetting(0.35)), part(600, 2, b.forgetting(0.35)))
    assert "KD602" not in found.cause_codes


def test_rows_from_elsewhere_are_a_shift_and_not_too_few(tmp_path):
    train = part(300, 1)
    train["inputs"] = 0.5 * train["inputs"] + 1
    found = diagnosed(tmp_path, train, part(600, 2, b.forgetting(0.35)))
    assert found.cause_codes == ["KD603"]


def test_a_shift_that_does_no_harm_is_a_note(tmp_path):
    train = part(300, 1)
    train["inputs"] = 0.5 * train["inputs"] + 1
    found = diagnosed(tmp_path, train, part(600, 2))
    assert [f.severity for f in found.causes if f.code == "KD603"] == ["note"]
    assert found.verdict != "sick"


def test_rows_of_which_the_teacher_is_surest_are_chosen_rows(tmp_path):
    every, val = part(3000, 1), part(600, 2, b.forgetting(0.35))
    two = np.sort(every["teacher_logits"], axis=1)[:, -2:]
    order = np.argsort(two[:, 0] - two[:, 1])
    surest = np.concatenate([order[every["labels"][order] == label][:30] for label in range(10)])
    assert diagnosed(tmp_path, {name: rows[surest] for name, rows in every.items()}, val).cause_codes == ["KD603"]


def test_classes_that_pay_where_targets_and_loss_treat_all_alike_are_no_regression_by_distilling():
    rows = np.full(10, 60)
    student = rows - np.array([40, 35, 1, 1, 1, 1, 1, 1, 1, 1])
    found = ClassRecall(rows=rows, teacher=rows, student=student, baseline=None, student_only=None, baseline_only=None)
    recalls = ClassRecalls(found, found, None, None)
    loss = SimpleNamespace(declared_error=0.0, tolerance=1e-4, declared_holds=True, mix=object())
    again = TeacherPasses(160, 0.0, 1.0, 1.0, False, 1.0, first_difference=0.0)
    rule = all_rules()["KD604"]
    assert weigh(rule, class_level_regression(recalls, None)).confidence > 0.5
    assert weigh(rule, class_level_regression(recalls, None, again, loss)).confidence < 0.5


def recalls_of(teacher: int, gained: int) -> ClassRecalls:
    """Class 0, of 100 rows, of which its teacher finds so many and the student 40 fewer; its twin 25 fewer.

    gained: rows of class 1 that the student finds and the twin does not.
    """
    rows, own = np.full(10, 100), np.full(10, 95)
    own[0] = teacher
    student, baseline = own - 3, own - 3
    student[0], baseline[0] = teacher - 40, teacher - 15
    baseline[1] -= gained
    only, other = np.maximum(student - baseline, 0), np.maximum(baseline - student, 0)
    found = ClassRecall(rows, own, student, baseline, student_only=only, baseline_only=other)
    return ClassRecalls(found, replace(found, baseline=None, student_only=None, baseline_only=None), None, None)


def named_by(recalls: ClassRecalls) -> bool:
    return weigh(all_rules()["KD604"], class_level_regression(recalls, None)).confidence > 0.5


def test_a_class_that_is_as_easy_for_the_teacher_and_worse_than_its_twins_pays_for_the_distillation():
    assert named_by(recalls_of(95, gained=0))


def test_recall_that_another_class_gained_was_exchanged():
    assert not named_by(recalls_of(70, gained=20)), "hard for its teacher, and some of it went to a class that is alike"
    assert named_by(recalls_of(95, gained=6)), "a quarter of what was lost is no exchange"


def test_a_class_that_is_hard_for_its_teacher_is_what_a_small_student_loses_first():
    alone = {"baseline": None, "student_only": None, "baseline_only": None}
    easy, hard = (
        replace(found, held_out=replace(found.held_out, **alone)) for found in (recalls_of(95, 0), recalls_of(60, 0))
    )
    assert named_by(easy)
    assert not named_by(hard)


@pytest.mark.parametrize(
    ("updates", "per_epoch", "batch", "named"),
    [(17, 1.0, 64, True), (4, 1.0, 64, False), (60, 7.0, 32, False), (40, 1.0, 4096, False), (400, 1.0, 64, False)],
    ids=["few rows", "few epochs", "many batches", "large batches", "many epochs"],
)
def test_epochs_of_hardly_a_batch_are_too_few_rows_and_no_short_schedule(tmp_path, updates, per_epoch, batch, named):
    run = load(recorded_run(tmp_path / "run", student=b.forgetting(0.7)))
    measured = dict(measure(run))
    measured[Manifest] = run.manifest.model_copy(
        update={"training": run.manifest.training.model_copy(update={"batch_size": batch})}
    )
    measured[RateSigns] = RateSigns(
        updates=updates, per_epoch=per_epoch, overshoots=0.0, peak=1.0, low=0.5, end=0.5, pace=1.0, pace_high=1.3,
        rate=0.05, pace_low=0.9,
    )  # fmt: skip
    rules = all_rules()
    assert (weigh(rules["KD602"], rules["KD602"](measured)).confidence > 0.5) is named
    if named:
        assert weigh(rules["KD502"], rules["KD502"](measured)).confidence < 0.1
