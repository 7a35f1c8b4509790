"""Faults that look alike are told apart, as the page of each code promises."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kddoctor.engine import Diagnosis, diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import all_rules
from kddoctor.run import load
from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses

POOR = b.forgetting(0.3)

COLUMNS = [3, 1, 2, 0, 4, 6, 5, 9, 7, 8]


def diagnosed(path, **changes) -> Diagnosis:
    return diagnose(load(recorded_run(path / "run", **changes)))


def test_an_untrained_teacher_is_not_taken_for_permuted_classes(tmp_path):
    assert diagnosed(tmp_path, teacher=b.untrained).cause_codes == ["KD101"]


def test_permuted_classes_are_not_taken_for_an_untrained_teacher_or_shuffled_rows(tmp_path):
    assert diagnosed(tmp_path, teacher=b.permuted([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])).cause_codes == ["KD105"]


def test_shuffled_rows_are_not_taken_for_permuted_classes(tmp_path):
    assert diagnosed(tmp_path, in_loop=b.shifted(5)).cause_codes == ["KD106"]


def test_shuffled_rows_are_not_taken_for_a_teacher_in_training_mode(tmp_path):
    found = diagnosed(tmp_path, in_loop=b.shifted(5), observations={"teacher_training": None})
    assert found.cause_codes == ["KD106"]


def test_rows_that_are_shuffled_in_part_are_found_beside_a_teacher_that_is_right_on_the_others(tmp_path):
    def half(logits, labels):
        moved = logits.copy()
        moved[: len(moved) // 2] = np.roll(logits[: len(moved) // 2], 3, axis=0)
        return moved

    assert diagnosed(tmp_path, in_loop=half).cause_codes == ["KD106"]


def test_a_weak_teacher_is_not_taken_for_an_untrained_one(tmp_path):
    assert diagnosed(tmp_path, teacher=b.forgetting(0.5), baseline=b.unchanged).cause_codes == ["KD102"]


def test_a_teacher_in_evaluation_mode_whose_passes_differ_is_not_said_to_have_been_training(tmp_path):
    found = diagnosed(tmp_path, in_loop=b.noisy(0.5), observations={"teacher_training": False})
    assert "KD103" not in found.cause_codes


def test_training_mode_without_any_effect_is_a_note(tmp_path):
    found = diagnosed(tmp_path, observations={"teacher_training": True})
    assert (found.verdict, found.cause_codes, found.causes[0].severity) == ("healthy", ["KD103"], "note")


def test_dropout_of_the_teacher_that_is_on_by_itself_is_a_note_while_the_teacher_keeps_its_skill(tmp_path):
    alone = {"teacher_training": True, "teacher_dropout_alone": True}
    drawn = diagnosed(tmp_path / "drawn", in_loop=b.noisy(0.5), observations=alone)
    assert (drawn.verdict, drawn.cause_codes, drawn.causes[0].severity) == ("healthy", ["KD103"], "note")
    assert drawn.causes[0].evidence[0].text.startswith("dropout layers of the teacher")
    lost = diagnosed(tmp_path / "lost", in_loop=b.noisy(4.0), observations=alone)
    assert (lost.verdict, lost.cause_codes[0]) == ("sick", "KD103")


def test_a_small_term_is_not_an_absent_one(tmp_path):
    assert "KD110" not in diagnosed(tmp_path, kd=losses.kl(times=1e-3)).cause_codes


def test_a_scheduled_weight_is_no_fault(tmp_path):
    found = diagnosed(tmp_path, mix=lambda share: (1 - 0.9 * share, 0.9 * share))
    assert found.cause_codes == []


def test_factors_c_and_t_squared_are_told_apart(tmp_path):
    mean = diagnosed(tmp_path / "mean", kd=losses.kl(reduction="mean"))
    factor = diagnosed(tmp_path / "factor", kd=losses.kl(scale="1"))
    assert (mean.cause_codes, factor.cause_codes) == (["KD201"], ["KD202"])


def in_part(path, **changes) -> Diagnosis:
    """Of a run that recorded the first quarter of each batch's rows."""
    run = recorded_run(path / "run", batch=96, training={"batch_size": 96}, **changes)
    file = run / "steps.safetensors"
    held = load_file(file)
    save_file({name: a[:, :24].copy() if a.ndim > 1 else a for name, a in held.items()}, file)
    return diagnose(load(run))


@pytest.mark.parametrize("world", range(3))
def test_a_factor_is_read_from_a_part_of_each_batch_and_a_sound_loss_stays_one(tmp_path, world):
    mean = in_part(tmp_path / "mean", kd=losses.kl(reduction="mean"), seed=world)
    factor = in_part(tmp_path / "factor", kd=losses.kl(scale="1"), seed=world)
    sound = in_part(tmp_path / "sound", seed=world)
    assert (mean.cause_codes, factor.cause_codes) == (["KD201"], ["KD202"])
    assert (sound.verdict, sound.cause_codes) == ("healthy", [])
    assert {"KD201", "KD202"} <= set(sound.ruled_out)


def test_of_a_part_of_each_batch_another_temperature_is_no_missing_factor(tmp_path):
    found = in_part(tmp_path, kd=losses.kl(temperature=1.0))
    assert not {"KD201", "KD202"} & set(found.cause_codes)
    assert found.verdict != "healthy"


@pytest.mark.parametrize("kd", [losses.kl(reduction="mean"), losses.kl(scale="1")], ids=["mean", "no factor"])
def test_where_t_squared_equals_the_class_count_both_are_named_and_each_says_so(tmp_path, kd):
    found = diagnosed(tmp_path, kd=kd, classes=16)
    both = {f.code: f for f in found.findings if f.code in ("KD201", "KD202")}
    assert sorted(both) == ["KD201", "KD202"]
    assert all("T² = C" in " ".join(f.against) for f in both.values())
    assert max(f.confidence for f in both.values()) < 0.99


def test_a_missing_factor_with_nothing_to_balance_is_a_note(tmp_path):
    found = diagnosed(tmp_path, kd=losses.kl(scale="1"), declared={"alpha": 1.0}, mix=(0.0, 1.0))
    assert (found.verdict, found.cause_codes, found.causes[0].severity) == ("healthy", ["KD202"], "note")


def test_a_declared_reverse_divergence_is_a_choice(tmp_path):
    found = diagnosed(tmp_path, kd=losses.divergence("reverse-kl"), declared={"loss": "reverse-kl"})
    assert (found.verdict, found.cause_codes) == ("healthy", [])


def test_a_cross_entropy_with_soft_targets_is_as_good_as_the_declared_divergence(tmp_path):
    found = diagnosed(tmp_path, kd=losses.divergence("soft-cross-entropy"))
    assert (found.verdict, found.cause_codes) == ("healthy", [])


def test_log_probabilities_passed_as_logits_are_harmless(tmp_path):
    def logged(z, labels):
        return (b.torch.log_softmax(b.torch.from_numpy(z), -1)).numpy()

    found = diagnosed(tmp_path, teacher=logged)
    assert (found.verdict, found.cause_codes) == ("healthy", [])


def test_probabilities_whose_logarithm_the_loop_takes_are_harmless(tmp_path):
    found = diagnosed(tmp_path, teacher=b.probabilities, kd=losses.of_logged_probabilities())
    assert "KD205" not in found.cause_codes


def test_exchanged_weights_are_not_taken_for_an_imbalance(tmp_path):
    assert diagnosed(tmp_path, mix=(0.9, 0.1)).cause_codes == ["KD207"]


def test_equal_weights_cannot_be_exchanged(tmp_path):
    assert diagnosed(tmp_path, mix=(0.5, 0.5), declared={"alpha": 0.5}).cause_codes == []


def test_a_softer_drift_of_weights_is_no_imbalance(tmp_path):
    assert "KD208" not in diagnosed(tmp_path, mix=(0.3, 0.7)).cause_codes


def test_an_easy_task_is_no_collapse(tmp_path):
    easy = b.World(margin=12.0, noise=0.5)
    found = diagnosed(tmp_path, teacher=b.sharpened(3), declared={"temperature": 1.0}, world=easy)
    assert (found.verdict, [f.code for f in found.causes if f.severity != "note"]) == ("healthy", [])


def test_a_labels_only_student_that_fits_well_excludes_a_capacity_floor(tmp_path):
    found = diagnosed(tmp_path, student=b.forgetting(0.4), baseline=b.unchanged)
    assert "KD402" not in found.cause_codes


def test_a_rising_curve_of_a_low_student_is_no_capacity_floor(tmp_path):
    found = diagnosed(tmp_path, student=b.forgetting(0.4), metrics=b.rising_curve())
    assert found.cause_codes == ["KD502"]


def test_a_level_curve_is_not_undertrained(tmp_path):
    assert "KD502" not in diagnosed(tmp_path, student=b.forgetting(0.3)).cause_codes


def test_a_rising_curve_close_to_the_teacher_is_long_enough(tmp_path):
    found = diagnosed(tmp_path, student=lambda z, y: z, world=b.World(noise=0.5), metrics=b.rising_curve(0.95))
    assert "KD502" not in found.cause_codes


def test_a_spike_from_which_training_recovers_is_no_divergence(tmp_path):
    rows = b.level_curve()
    rows[8]["loss"] = float("inf")
    assert "KD505" not in diagnosed(tmp_path, metrics=rows).cause_codes


def test_a_squared_error_that_was_declared_is_no_drift(tmp_path):
    found = diagnosed(tmp_path, kd=losses.divergence("mse", 1.0, reduction="mean"), declared={"loss": "mse"})
    assert (found.verdict, found.cause_codes) == ("healthy", [])


def test_a_run_that_was_meant_to_have_no_teacher_is_not_accused_of_ignoring_it(tmp_path):
    meant = {"loss": "none", "alpha": None, "temperature": None}
    found = diagnosed(tmp_path, kd=losses.kl(), mix=(1.0, 0.0), declared=meant)
    assert found.cause_codes == []


def test_a_loss_that_has_not_slowed_down_leaves_capacity_open(tmp_path):
    rows = b.level_curve(0.4)
    for row in rows:
        if row.get("split") == "train":
            row["loss"] = 3.0 - row["epoch"] / 18  # as fast at the end as at the beginning
    low = {"student": b.forgetting(0.4), "baseline": b.forgetting(0.4, 6)}
    assert diagnosed(tmp_path, **low).cause_codes == ["KD402"]
    assert "KD402" not in diagnosed(tmp_path / "falling", metrics=rows, **low).cause_codes


@pytest.mark.parametrize(("promises", "named"), [(0.002, True), (0.3, False)], ids=["little", "much"])
def test_a_loss_that_still_falls_a_little_matters_by_what_another_schedule_would_bring(tmp_path, promises, named):
    rows = b.level_curve(0.4)
    for row in rows:
        late = max(0, row["epoch"] - 8) / 9
        if row.get("split") == "train":
            row["loss"] = 3.0 - 0.1 * row["epoch"] - 0.6 * (1 - np.exp(-row["epoch"] / 3))
        else:
            row["student_accuracy"] = 0.4 * (1 - np.exp(-row["epoch"] - 1)) + promises * late
    low = {"student": b.forgetting(0.4), "baseline": b.forgetting(0.4, 6)}
    assert ("KD402" in diagnosed(tmp_path, metrics=rows, **low).cause_codes) is named


def test_capacity_is_not_judged_without_a_curve(tmp_path):
    found = diagnosed(tmp_path, student=b.forgetting(0.4), baseline=b.forgetting(0.4, 6), steps=0, metrics=[])
    assert "KD402" in [item.code for item in found.not_examined]


def test_a_student_that_its_teacher_helps_a_lot_is_not_too_small_by_its_twin(tmp_path):
    found = diagnosed(tmp_path, student=b.forgetting(0.3), baseline=b.forgetting(0.5, 6))
    assert (found.verdict, found.cause_codes) == ("healthy", [])


def test_a_slow_rise_below_a_wide_gap_is_not_the_schedule(tmp_path):
    rows = b.level_curve(0.4)
    for row in rows:
        if row.get("split") == "val":
            row["student_accuracy"] = 0.3 + 0.08 * row["epoch"] / 18
    found = diagnosed(tmp_path, student=b.forgetting(0.6), baseline=b.forgetting(0.6, 6), metrics=rows)
    assert "KD502" not in found.cause_codes


def test_one_hot_targets_do_no_harm_to_a_student_that_keeps_up(tmp_path):
    sharp = {"teacher": b.sharpened(20), "declared": {"temperature": 1.0}, "world": b.World(noise=0.3)}
    assert diagnosed(tmp_path, **sharp).verdict == "healthy"
    behind = {"student": b.forgetting(0.07), "train_student": b.unchanged, "baseline": b.forgetting(0.07, 6)}
    assert diagnosed(tmp_path / "behind", **behind, **sharp).cause_codes == ["KD301"]


def test_a_form_that_fits_excludes_the_other_codes_of_the_loss(tmp_path):
    found = diagnosed(tmp_path, kd=losses.kl(reduction="mean"))
    assert found.cause_codes == ["KD201"]
    assert set(found.ruled_out) >= {"KD202", "KD204", "KD207", "KD208", "KD211"}
    assert not set(found.undecided) & set(found.ruled_out)


def test_a_student_far_below_its_teacher_is_not_called_healthy(tmp_path):
    found = diagnosed(
        tmp_path, student=b.forgetting(0.5), train_student=b.forgetting(0.2), baseline=b.forgetting(0.7, 6)
    )
    assert (found.verdict, found.cause_codes) == ("inconclusive", [])
    assert "keeps only" in found.summary


def test_a_rise_while_the_learning_rate_is_wound_down_proves_nothing(tmp_path):
    """Step-wise and cosine decays lift the last epochs of every run."""
    rows = b.rising_curve(0.7)
    assert diagnosed(tmp_path, student=POOR, metrics=rows).cause_codes == ["KD502"]
    last = max(row["epoch"] for row in rows)
    decayed = [row | {"lr": 0.1 if row["epoch"] < last / 2 else 0.001} for row in rows]
    # The loss had levelled at the first rate.
    decayed = [row | {"loss": 1.0 if row["lr"] > 0.01 else 0.6} if "loss" in row else row for row in decayed]
    assert "KD502" not in diagnosed(tmp_path / "decayed", student=POOR, metrics=decayed).cause_codes
    constant = [row | {"lr": 0.1} for row in rows]
    assert diagnosed(tmp_path / "constant", student=POOR, metrics=constant).cause_codes == ["KD502"]


def test_a_loss_that_never_slowed_outweighs_an_accuracy_that_stands_still(tmp_path):
    rows = []
    for step in range(200):
        rows.append({"step": step, "epoch": step // 10, "split": "train", "loss": 9.0 - step / 100})
        if step % 10 == 9:
            accuracy = 0.2 + 0.001 * (-1) ** (step // 10)
            rows.append({"step": step, "epoch": step // 10, "split": "val", "student_accuracy": accuracy})
    found = diagnosed(tmp_path, student=b.forgetting(0.8), baseline=b.forgetting(0.8, 6), metrics=rows)
    assert found.cause_codes == ["KD502"]


def test_a_teacher_that_knows_a_little_was_loaded(tmp_path):
    """Untrained networks stay below a tenth of the possible skill; this one has 0.13."""
    found = diagnosed(tmp_path, teacher=b.forgetting(0.77), baseline=b.unchanged)
    assert found.cause_codes[0] == "KD102"


def test_targets_of_an_unknown_temperature_are_not_called_one_hot(tmp_path):
    sharp = {"teacher": b.sharpened(20), "student": b.forgetting(0.1), "steps": 0}
    found = diagnosed(tmp_path / "unknown", declared={"temperature": None}, **sharp)
    assert found.cause_codes == []
    assert [item.needs for item in found.not_examined if item.code == "KD301"] == [
        ("predictions", "distillation.temperature")
    ]
    assert diagnosed(tmp_path / "declared", declared={"temperature": 1.0}, **sharp).cause_codes == ["KD301"]


def coarser(logits, labels):
    """Classes 1 and 3 are known by the names of 0 and 2."""
    changed = logits.copy()
    for fine, coarse in ((1, 0), (3, 2)):
        changed[:, coarse] = np.maximum(logits[:, coarse], logits[:, fine])
        changed[:, fine] = logits.min(axis=1) - 1
    return changed


def test_a_teacher_of_coarser_classes_is_not_taken_for_wrong_labels(tmp_path):
    assert diagnosed(tmp_path, teacher=coarser, student=coarser).cause_codes[0] == "KD102"


def numbered_anew(names: int):
    """A teacher that was trained on this many coarser classes, under numbers of their own."""

    def change(logits, labels):
        classes = logits.shape[1]
        changed = np.full_like(logits, logits.min() - 1)
        for fine in range(classes):
            coarse = fine * names // classes
            changed[:, coarse] = np.maximum(changed[:, coarse], logits[:, fine])
        return changed

    return change


@pytest.mark.parametrize("names", [5, 3, 2])
def test_a_teacher_of_coarser_classes_under_other_numbers_was_trained(tmp_path, names):
    found = diagnosed(tmp_path, teacher=numbered_anew(names), student=numbered_anew(names))
    assert found.cause_codes[0] == "KD102"
    assert "KD101" not in found.cause_codes


def hardly_trained(share: float, named: bool):
    """A teacher that prefers two classes, unsure of every row, and knows this share of their rows: by their names, or
    by those of two others.
    """

    def change(logits, labels):
        rng = np.random.default_rng(4)
        changed = (np.eye(10)[rng.integers(0, 2, len(labels))] + rng.normal(scale=0.05, size=logits.shape)) * 0.8
        for name in (0, 1):
            known = (labels == name) & (rng.random(len(labels)) < share)
            changed[known, name if named else name + 2] += 1.0
            changed[labels == name] -= 0.0 if named else 0.3 * np.eye(10)[[0, 1]].sum(0)
        return changed.astype(np.float32)

    return change


@pytest.mark.parametrize(("named", "code"), [(True, False), (False, True)])
def test_first_weights_know_no_names(tmp_path, named, code):
    poor = hardly_trained(0.9, named)
    found = diagnosed(tmp_path, teacher=poor, student=b.forgetting(0.3), baseline=b.forgetting(0.1))
    assert ("KD101" in found.cause_codes) is code
    assert ("KD102" in found.cause_codes) is not code


def test_what_a_teachers_confidence_says_of_its_training_counts_once(tmp_path):
    """Of all rows, and of those that it is surest of."""
    unsure = lambda logits, labels: (0.15 * b.forgetting(0.2)(logits, labels)).astype(np.float32)  # noqa: E731
    measured = dict(measure(load(recorded_run(tmp_path / "run", teacher=unsure, student=b.forgetting(0.2, 6)))))
    rule, sure = all_rules()["KD102"], {}
    for kept_back in (0.0, 0.4):
        measured[SurestRows] = SurestRows(60, 1.0, 1.0 - kept_back, 0.3, 0.3)
        finding = rule(measured)
        assert isinstance(finding, Finding)
        sure[kept_back] = weigh(rule, finding).log_odds
        kinds = {e.group for e in finding.supporting}
        assert "hardly-trained" in kinds, "an unsure teacher whose student is as good"
    assert sure[0.4] - sure[0.0] == pytest.approx(5.0 - 2.0)


@pytest.mark.parametrize("named", [True, False])
def test_only_a_teacher_that_knows_no_names_may_be_first_weights_to_the_weak_teacher_as_well(tmp_path, named):
    """A teacher that KD101 is out of by its names would have no code at all."""
    barely = hardly_trained(1.0, named)
    measured = measure(load(recorded_run(tmp_path / "run", teacher=barely, student=b.forgetting(0.85))))
    finding = all_rules()["KD102"](measured)
    assert isinstance(finding, Finding)
    silent = not finding.evidence or "entropy_ratio" in [e.measure for e in finding.opposing]
    assert silent is not named


def long_tailed(logits, labels):
    """The last three classes are never answered."""
    changed = logits.copy()
    changed[:, 7:] = logits.min(axis=1, keepdims=True) - 1
    return changed


def test_a_teacher_that_never_answers_classes_was_trained_where_they_hardly_occur(tmp_path):
    found = diagnosed(tmp_path, teacher=long_tailed, student=long_tailed)
    assert found.cause_codes[0] == "KD102"


def lacking(classes):
    """These classes are never answered; all others are."""

    def change(logits, labels):
        changed = logits.copy()
        changed[:, classes] = logits.min(axis=1, keepdims=True) - 1
        return changed

    return change


def test_a_teacher_that_lacks_two_classes_and_knows_all_others_is_no_weak_teacher(tmp_path):
    found = diagnosed(tmp_path, teacher=lacking([8, 9]), student=lacking([8, 9]), baseline=b.unchanged)
    assert found.cause_codes == ["KD604"]


def test_a_declared_weight_at_which_the_teacher_is_not_heard_is_named_where_something_was_lost(tmp_path):
    behind = b.forgetting(0.3)
    small = {"declared": {"alpha": 0.005}, "mix": (0.995, 0.005)}
    found = diagnosed(tmp_path / "behind", student=behind, baseline=behind, **small)
    assert found.cause_codes == ["KD208"]
    assert found.causes[0].prescription.changes == {"distillation.alpha": 0.9}
    # Far better than alone: then it was enough.
    gained = diagnosed(tmp_path / "gained", student=b.forgetting(0.1), baseline=behind, **small)
    assert "KD208" not in gained.cause_codes


def test_a_student_that_is_clearly_better_than_its_teacher_needs_no_twin_to_say_so(tmp_path):
    found = diagnosed(tmp_path, teacher=b.forgetting(0.3), student=b.forgetting(0.1, 6))
    assert "KD102" in found.cause_codes


def test_a_student_that_is_hardly_better_than_its_teacher_accuses_nobody(tmp_path):
    found = diagnosed(tmp_path, teacher=b.forgetting(0.06), student=b.forgetting(0.05, 6))
    assert "KD102" not in found.cause_codes
