"""Rules about sequences, on built records, in both directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.engine.weighing import weigh
from kddoctor.probes.measurements import TrainGaps
from kddoctor.rules.registry import all_rules
from kddoctor.run import load, write_run
from tests.builders import level_curve, losses_of
from tests.forensics.losses import kl

SIZE, LENGTH, EOS = 12, 20, 11
SEQUENCE_CODES = {"KD802", "KD805", "KD806", "KD807", "KD808", "KD809", "KD810", "KD811"}


def following():
    z = 2.0 * np.random.default_rng(0).normal(size=(SIZE, SIZE))
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def texts(rows, draw, length=LENGTH, ends=None):
    """[rows, length + 1] tokens of a Markov chain; ``ends``: lengths after which nothing follows."""
    rng = np.random.default_rng([1, draw])
    p = following().cumsum(1)
    text = rng.integers(0, SIZE - 1, (rows, length + 1))
    for at in range(length):
        text[:, at + 1] = (rng.random(rows)[:, None] > p[text[:, at]]).sum(1).clip(max=SIZE - 1)
    return text


def recorded(
    path,
    *,
    reads=None,
    teacher=None,
    targets=None,
    check=None,
    train_length=LENGTH,
    labels_of=None,
    student_noise=0.3,
    alpha=0.5,
    baseline=None,
    metrics=None,
    observations=None,
    steps=8,
):
    """A run of tokens. reads: numbers that the teacher takes tokens for. teacher: (logits, labels) to its own ones.
    targets: (logits, labels) to what the loss used. labels_of: applied to the training labels.
    """
    numbers = np.arange(SIZE) if reads is None else np.asarray(reads)
    table = np.log(following()).astype(np.float32)
    rng = np.random.default_rng(3)

    def student(logits):
        return (logits + rng.normal(scale=student_noise, size=logits.shape)).astype(np.float32)

    predictions = {}
    for split, draw, length in (("train", 1, train_length), ("val", 2, LENGTH)):
        text = texts(300, draw, length)
        labels = text[:, 1:].copy()
        logits = table[numbers[text[:, :-1]]]
        own = logits if teacher is None else teacher(logits, labels)
        if split == "train" and labels_of is not None:
            labels = labels_of(labels)
        predictions[split] = {"labels": labels, "teacher_logits": own, "student_logits": student(logits)}
        if baseline is not None:
            predictions[split]["baseline_logits"] = baseline(table[text[:, :-1]])
    columns: dict[str, list[np.ndarray]] = {}
    for k in range(steps):
        text = texts(16, 10 + k, train_length)
        logits = table[numbers[text[:, :-1]]]
        own = logits if teacher is None else teacher(logits, text[:, 1:])
        used = own if targets is None else targets(own, text[:, 1:])
        row = {
            "labels": text[:, 1:],
            "teacher_logits": used,
            "teacher_logits_check": own,
            "student_logits": student(logits),
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    arrays = {name: np.stack(values) for name, values in columns.items()} | {"step": 10 * np.arange(steps)}
    flat = {n: v.reshape(steps, -1, *v.shape[3:]) for n, v in arrays.items() if n != "step"}
    arrays |= losses_of(flat, kl(2.0), (1 - alpha, alpha))
    return write_run(
        path,
        {
            "task": "tokens",
            "num_classes": SIZE,
            "distillation": {"loss": "kl", "temperature": 2.0, "alpha": alpha},
            "training": {"epochs": 20, "learning_rate": 0.05, "seed": 0},
        },
        predictions=predictions,
        steps=arrays,
        metrics=level_curve(0.4) if metrics is None else metrics,
        observations={"teacher_training": False, "same_inputs": True, **(observations or {})},
    )


def found(path, **changes):
    return diagnose(load(recorded(path / "run", **changes)))


def of_sequences(diagnosis):
    return [code for code in diagnosis.cause_codes if code in SEQUENCE_CODES]


def not_examined(diagnosis):
    return {part.code for part in diagnosis.not_examined}


def test_a_sound_run_has_none_of_these(tmp_path):
    diagnosis = found(tmp_path)
    assert of_sequences(diagnosis) == []
    assert {"KD805", "KD806", "KD810", "KD811"} <= set(diagnosis.ruled_out)
    assert {"KD802", "KD807", "KD808", "KD809", "KD114"} <= not_examined(diagnosis)


# KD803 ----------------------------------------------------------------------------------------------------


def told_by_place(logits: np.ndarray, _labels: np.ndarray) -> np.ndarray:
    """A teacher that knows where it is, so that no two positions of a text have the same answer."""
    return logits + np.float32(0.01) * np.arange(logits.size, dtype=np.float32).reshape(logits.shape) % 7


def joined_late(logits: np.ndarray, _labels: np.ndarray) -> np.ndarray:
    """From the third window on, each comes later: by five positions in the end."""
    at = np.arange(LENGTH)
    return logits[:, np.maximum(0, at - at // 4)]


def from_other_texts(logits: np.ndarray, _labels: np.ndarray) -> np.ndarray:
    return logits[np.random.default_rng(0).permutation(len(logits))]


def test_answers_of_other_places_in_the_text_are_not_of_another_text(tmp_path):
    assert found(tmp_path / "late", teacher=told_by_place, targets=joined_late).cause_codes[0] == "KD803"
    assert found(tmp_path / "others", teacher=told_by_place, targets=from_other_texts).cause_codes[0] == "KD106"


# KD805 ----------------------------------------------------------------------------------------------------


def of_a_longer_memory(logits: np.ndarray, _labels: np.ndarray, draw: int = 0) -> np.ndarray:
    """A teacher whose answers depend on more than the last token, so that no two of them are the same."""
    return logits + np.float32(0.1) * np.random.default_rng(draw).normal(size=logits.shape).astype(np.float32)


def renumbered(_logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What follows another token than the one that stands there."""
    read = np.roll(np.arange(SIZE), 1)[np.maximum(np.concatenate([labels[:, :1], labels[:, :-1]], axis=1), 0)]
    return of_a_longer_memory(np.log(following()[read]).astype(np.float32), labels, draw=1)


def test_other_numbers_in_the_loop_alone_are_no_other_tensor(tmp_path):
    diagnosis = found(tmp_path / "loop", teacher=of_a_longer_memory, targets=renumbered)
    assert diagnosis.cause_codes[0] == "KD805"
    assert "KD113" not in diagnosis.cause_codes
    assert any(e.measure == "in_loop.as_another" for e in diagnosis.causes[0].evidence)
    assert "KD805" not in found(tmp_path / "others", teacher=of_a_longer_memory, targets=from_other_texts).cause_codes


@pytest.mark.parametrize("moved", [SIZE, 5], ids=["all", "some"])
def test_other_numbers_of_the_same_tokens(tmp_path, moved):
    reads = np.arange(SIZE)
    reads[SIZE - moved :] = np.roll(reads[SIZE - moved :], 1)
    assert found(tmp_path, reads=reads).cause_codes[0] == "KD805"


def test_permuted_outputs_are_not_another_tokenizer(tmp_path):
    order = np.roll(np.arange(SIZE), 3)
    path = recorded(tmp_path / "run")
    run = load(path)
    parts = {}
    for split in run.splits:
        part = run.predictions(split)
        parts[split] = {
            "labels": part.labels.read(),
            "teacher_logits": part.teacher_logits.read()[..., order],
            "student_logits": part.student_logits.read(),
        }
    write_run(
        tmp_path / "other",
        {"task": "tokens", "num_classes": SIZE, "distillation": {"loss": "kl", "temperature": 2.0, "alpha": 0.5}},
        predictions=parts,
    )
    assert "KD805" not in diagnose(load(tmp_path / "other")).cause_codes


def test_both_tokenizers_as_the_user_compared_them(tmp_path):
    sick = found(tmp_path / "a", observations={"sequences": {"tokenizer_agreement": 0.7}})
    sound = found(tmp_path / "b", observations={"sequences": {"tokenizer_agreement": 1.0}})
    assert ("KD805" in sick.differential, "KD805" in sound.cause_codes) == (True, False)


# KD806 ----------------------------------------------------------------------------------------------------


def test_rows_that_a_limit_cut(tmp_path):
    assert found(tmp_path, train_length=6).cause_codes == ["KD806"]


def test_short_training_rows_of_many_lengths_were_not_cut(tmp_path):
    def shorter(labels):
        lengths = np.random.default_rng(5).permutation(np.linspace(1, LENGTH - 1, len(labels)).astype(int))
        return np.where(np.arange(labels.shape[1]) < lengths[:, None], labels, -100)

    assert "KD806" not in found(tmp_path, labels_of=shorter).cause_codes


def test_a_cut_of_both_splits_is_known_by_the_users_count(tmp_path):
    assert "KD806" in found(tmp_path, observations={"sequences": {"truncated_share": 0.3}}).cause_codes


# KD810 ----------------------------------------------------------------------------------------------------


def drawn(own, labels):
    rng = np.random.default_rng(7)
    p = np.exp(own) / np.exp(own).sum(-1, keepdims=True)
    answers = (rng.random(p.shape[:-1])[..., None] > p.cumsum(-1)).sum(-1).clip(max=SIZE - 1)
    return (20.0 * np.eye(SIZE)[answers]).astype(np.float32)


def hacked(fall=0.1):
    held_out = [*np.linspace(0.2, 0.45, 8), *np.linspace(0.45, 0.45 - fall, 24)]
    rows = [{"split": "val", "step": i, "epoch": i, "student_accuracy": float(v)} for i, v in enumerate(held_out)]
    losses = np.linspace(4.0, 1.0, 32)
    return rows + [{"split": "train", "step": i, "epoch": i, "kd_loss": float(v)} for i, v in enumerate(losses)]


def test_drawn_answers_learnt_by_heart(tmp_path):
    assert found(tmp_path, targets=drawn, alpha=1.0, metrics=hacked()).cause_codes[0] == "KD810"


def test_drawn_answers_from_which_a_student_learns_are_a_choice(tmp_path):
    assert "KD810" not in found(tmp_path, targets=drawn, alpha=1.0, metrics=hacked(0.0)).cause_codes


def test_a_student_that_has_not_fitted_what_the_teacher_said_does_not_hack_it(tmp_path):
    measured = dict(measure(load(recorded(tmp_path / "run", alpha=1.0, metrics=hacked()))))
    rule = all_rules()["KD810"]
    gaps = measured[TrainGaps]
    sure = {}
    for agreement in (0.99, 0.6):
        measured[TrainGaps] = TrainGaps(replace(gaps.gaps, agreement=agreement))
        sure[agreement] = weigh(rule, rule(measured)).confidence
    assert sure[0.99] > 0.5 > sure[0.6]


def test_a_fall_while_labels_are_followed_is_not_the_teachers_doing(tmp_path):
    assert "KD810" not in found(tmp_path, alpha=0.5, metrics=hacked()).cause_codes


# KD811 ----------------------------------------------------------------------------------------------------


def told(own, labels):
    return (own + 6.0 * np.eye(SIZE)[labels]).astype(np.float32)


def test_targets_that_were_told_the_answer(tmp_path):
    diagnosis = found(tmp_path, targets=told)
    assert (diagnosis.cause_codes[0], diagnosis.causes[0].status) == ("KD811", "confirmed")


def test_targets_that_labels_are_mixed_into_were_told_a_part_and_are_a_note(tmp_path):
    def mixed(own, labels):
        shares = np.exp(own - np.logaddexp.reduce(own, axis=-1, keepdims=True))
        return np.log(0.9 * shares + 0.1 * np.eye(SIZE)[labels]).astype(np.float32)

    diagnosis = found(tmp_path, targets=mixed)
    assert (diagnosis.causes[0].code, diagnosis.causes[0].severity) == ("KD811", "note")
    assert "a part of the answer" in diagnosis.causes[0].summary
    assert found(tmp_path / "all", targets=told).causes[0].severity == "error"


def test_a_teacher_that_knows_what_follows_in_new_texts_reads_ahead(tmp_path):
    diagnosis = found(tmp_path, teacher=lambda logits, labels: told(logits, labels) + told(0 * logits, labels))
    assert diagnosis.cause_codes[0] == "KD811"


def test_targets_of_another_temperature_were_told_nothing(tmp_path):
    assert "KD811" not in found(tmp_path, targets=lambda own, labels: 3 * own).cause_codes


def context(student, teacher, raw):
    facts = {"rows": 100, "mean": 5.0, "std": 3.0, "min": 0.0, "max": 11.0, "shape": [LENGTH]}
    places = (("loop_student", student), ("loop_teacher", teacher), ("train", raw))
    return {"same_inputs": False, "inputs": {name: {**facts, "zeros": zeros} for name, zeros in places}}


def test_a_context_that_the_student_does_not_get(tmp_path):
    diagnosis = found(tmp_path, observations=context(0.6, 0.05, 0.05), student_noise=4.0)
    assert diagnosis.cause_codes[0] == "KD811"


def test_parts_that_neither_of_them_gets_are_another_view(tmp_path):
    assert "KD811" not in found(tmp_path, observations=context(0.6, 0.5, 0.05), student_noise=4.0).cause_codes


# What only a user can write down --------------------------------------------------------------------------


def without_ends(labels):
    """Rows of half the length and more, which end in whatever comes last."""
    lengths = np.random.default_rng(5).permutation(np.linspace(8, LENGTH - 1, len(labels)).astype(int))
    kept = np.where(labels == EOS, 0, labels)
    kept[0] = 1
    return np.where(
        (np.arange(labels.shape[1]) < lengths[:, None]) | (np.arange(len(labels)) == 0)[:, None], kept, -100
    )


def with_ends(labels):
    kept = without_ends(labels)
    last = (kept != -100).sum(1) - 1
    kept[np.arange(len(kept)), last] = EOS
    return kept


def test_rows_that_never_end(tmp_path):
    facts = {"sequences": {"eos_token_id": EOS}}
    assert "KD802" in found(tmp_path / "a", labels_of=without_ends, observations=facts).cause_codes
    assert "KD802" in found(tmp_path / "b", labels_of=with_ends, observations=facts).ruled_out


def test_the_gap_grows_with_every_word_of_the_students_own(tmp_path):
    def facts(slope, offset):
        own = [1.0 + 0.01 * (-1) ** i for i in range(20)]
        return {
            "sequences": {
                "teacher_nll_of_student_samples": [x + offset + slope * i for i, x in enumerate(own)],
                "teacher_nll_of_teacher_samples": [1.0] * 20,
            }
        }

    assert "KD807" in found(tmp_path / "a", observations=facts(0.1, 0.1)).cause_codes
    assert "KD807" in found(tmp_path / "b", observations=facts(0.0, 2.0)).ruled_out


def sampled(length, entropy, accuracy):
    rows = []
    for i in range(40):
        share = i / 39
        row = {"split": "train", "step": i, "loss": 3.0 - share}
        row["completion_length"] = 50 * length**share
        row["student_entropy"] = 2 * entropy**share
        rows.append(row)
        if i % 4 == 0:
            rows.append({"split": "val", "step": i, "student_accuracy": 0.5 + accuracy * share})
    return rows


def test_texts_that_degenerate_are_told_from_a_student_that_gets_surer(tmp_path):
    assert "KD808" in found(tmp_path / "a", metrics=sampled(6.0, 0.1, -0.2)).cause_codes
    assert "KD808" not in found(tmp_path / "b", metrics=sampled(1.0, 0.1, 0.2)).cause_codes
    assert "KD808" in found(tmp_path / "c", metrics=sampled(1.2, 0.7, 0.2)).ruled_out


def test_long_traces_are_worse_for_a_small_student(tmp_path):
    def facts(long):
        return {
            "parameters": {"student": 1_500_000_000},
            "sequences": {
                "long_traces": {"metric": long, "length": 3000, "rows": 1000},
                "short_traces": {"metric": 0.5, "length": 500, "rows": 1000},
            },
        }

    assert "KD809" in found(tmp_path / "a", observations=facts(0.35)).cause_codes
    assert "KD809" not in found(tmp_path / "b", observations=facts(0.49)).cause_codes
    assert "KD809" in found(tmp_path / "c", observations=facts(0.6)).ruled_out


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "ahead"])
def test_a_teacher_of_an_older_time(tmp_path, behind):
    windows = {"teacher": ["2022-01-01", "2022-12-31"], "student": ["2023-06-01", "2023-12-31"]}
    # A twin that knows better than the teacher what follows, or knows nothing.
    reads = np.where(np.arange(SIZE) < 4, (np.arange(SIZE) + 1) % SIZE, np.arange(SIZE)) if behind else None
    diagnosis = found(
        tmp_path,
        reads=reads,
        baseline=lambda z: z if behind else 0 * z,
        observations={"training_windows": windows},
    )
    severity = {f.code: f.severity for f in diagnosis.causes}.get("KD904")
    assert severity == ("error" if behind else "note")


def test_a_teacher_of_the_same_time(tmp_path):
    windows = {"teacher": [0, 100], "student": [50, 100]}
    assert "KD904" in found(tmp_path, observations={"training_windows": windows}).ruled_out


def test_a_baseline_of_another_budget(tmp_path):
    unfair = found(tmp_path / "a", observations={"baseline": {"metric": 0.4, "epochs": 60}})
    fair = found(tmp_path / "b", observations={"baseline": {"metric": 0.4, "epochs": 20}})
    assert ("KD114" in unfair.cause_codes, "KD114" in fair.ruled_out) == (True, True)


def test_a_gain_within_the_spread_over_seeds_is_a_note(tmp_path):
    within = {"student": [0.40, 0.42, 0.41], "baseline": [0.40, 0.41, 0.42]}
    beyond = {"student": [0.50, 0.52, 0.51], "baseline": [0.40, 0.41, 0.42]}
    noted = found(tmp_path / "a", observations={"seed_metrics": within})
    clear = found(tmp_path / "b", observations={"seed_metrics": beyond})
    assert {f.code: f.severity for f in noted.causes}.get("KD114") == "note"
    assert "KD114" in clear.ruled_out
