"""Saving runs as a baseline and holding later ones against it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from kddoctor.baselines import Baseline, compare, read_baseline, save_baseline
from kddoctor.baselines.figures import figures_of
from kddoctor.engine import diagnose
from kddoctor.errors import UsageError
from kddoctor.run import load, write_run
from tests import builders as b

TODAY = date(2026, 11, 24)


def run_of(path: Path, **changes: object):
    run = load(b.recorded_run(path, steps=0, rows=2000, **changes))
    return run, diagnose(run)


def saved(tmp_path: Path, *changes: dict[str, object], **how: object) -> Path:
    made = [run_of(tmp_path / f"good{i}", **change) for i, change in enumerate(changes or ({},))]
    file = tmp_path / "baseline.json"
    runs, diagnoses = zip(*made, strict=True)
    save_baseline(runs, diagnoses, file, **{"reason": "first", "today": TODAY, **how})
    return file


def held_against(tmp_path: Path, file: Path, **changes: object):
    run, diagnosis = run_of(tmp_path / "later", **changes)
    return compare(run, diagnosis, read_baseline(file), today=TODAY)


def by_name(regressions) -> dict[str, object]:
    return {comparison.figure: comparison for comparison in regressions.comparisons}


def seeded(seed: int, scale: float = 0.5) -> dict[str, object]:
    return {"student": b.noisy(scale, seed)}


def test_what_is_read_back_is_what_was_saved(tmp_path):
    file = saved(tmp_path, seeded(1), seeded(2), expires=date(2027, 1, 1))
    baseline = read_baseline(file)
    assert (baseline.runs, baseline.reason, baseline.expires) == (("good0", "good1"), "first", date(2027, 1, 1))
    assert baseline.to_json() == file.read_text("utf-8")
    run, _ = run_of(tmp_path / "again", **seeded(1))
    accuracy = figures_of(run)["accuracy"]
    assert baseline.figures["accuracy"][0] == accuracy.value
    assert np.array_equal(baseline.values["accuracy"][0], accuracy.values)


def test_a_baseline_of_two_thousand_examples_is_a_small_file(tmp_path):
    assert saved(tmp_path).stat().st_size < 20_000


def test_the_same_run_does_not_regress(tmp_path):
    found = held_against(tmp_path, saved(tmp_path))
    assert found.failed == ()
    assert {c.p for c in found.comparisons if c.p is not None} == {1.0}


def test_another_seed_does_not_regress(tmp_path):
    assert held_against(tmp_path, saved(tmp_path, seeded(1), seeded(2), seeded(3)), **seeded(4)).failed == ()


def test_a_student_that_forgets_regresses(tmp_path):
    found = held_against(tmp_path, saved(tmp_path, seeded(1), seeded(2), seeded(3)), student=b.forgetting(0.05))
    assert {"accuracy", "agreement"} <= {comparison.figure for comparison in found.failed}
    accuracy = by_name(found)["accuracy"]
    assert accuracy.drop == pytest.approx(accuracy.before - accuracy.after)


def test_a_single_class_that_is_lost_is_named(tmp_path):
    def losing_seven(logits, labels):
        changed = logits.copy()
        changed[:, 7] -= np.where(np.arange(len(labels)) % 3 == 0, 100, 0)
        return changed

    found = held_against(tmp_path, saved(tmp_path), student=losing_seven)
    assert by_name(found)["recall of class 7"].failed


def test_a_change_that_nobody_minds_does_not_fail_however_certain_it_is(tmp_path):
    found = held_against(tmp_path, saved(tmp_path), student=b.forgetting(0.002))
    assert found.failed == ()


def test_a_better_student_does_not_regress(tmp_path):
    file = saved(tmp_path, {"student": b.forgetting(0.1)})
    found = held_against(tmp_path, file)
    assert by_name(found)["accuracy"].drop < -0.05
    assert "accuracy" not in {c.figure for c in found.failed}


def test_with_the_same_teacher_retention_is_not_paid_for_twice(tmp_path):
    assert "retention" not in by_name(held_against(tmp_path, saved(tmp_path)))


def test_with_another_teacher_retention_is_held_against_the_baseline(tmp_path):
    found = held_against(tmp_path, saved(tmp_path), teacher=b.forgetting(0.1))
    assert "retention" in by_name(found)


def test_rows_in_another_order_are_paired_by_their_ids(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    z = rng.normal(size=(500, 4)) + 4 * np.eye(4)[labels]
    order = rng.permutation(500)
    records = []
    for name, rows in (("a", np.arange(500)), ("b", order)):
        arrays = {
            "labels": labels[rows],
            "teacher_logits": z[rows].astype(np.float32),
            "student_logits": (z[rows] * 0.9).astype(np.float32),
            "example_ids": rows,
        }
        run = load(write_run(tmp_path / name, {"task": "multiclass", "num_classes": 4}, predictions={"val": arrays}))
        records.append((run, diagnose(run)))
    save_baseline([records[0][0]], [records[0][1]], tmp_path / "b.json", reason="first")
    found = compare(*records[1], read_baseline(tmp_path / "b.json"))
    assert {c.p for c in found.comparisons} == {1.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": 1000}, "there are 1000 held-out rows, not 2000"),
        ({"seed": 3}, "the labels of the held-out rows are others"),
    ],
)
def test_unlike_runs_are_not_compared(tmp_path, changes, said):
    file = saved(tmp_path)
    run = load(b.recorded_run(tmp_path / "later", steps=0, **{"rows": 2000, **changes}))
    with pytest.raises(UsageError, match=f"later cannot be compared with the baseline: {said}"):
        compare(run, diagnose(run), read_baseline(file))


def test_an_expired_baseline_is_not_compared_with(tmp_path):
    file = saved(tmp_path, expires=TODAY)
    run, diagnosis = run_of(tmp_path / "later")
    assert compare(run, diagnosis, read_baseline(file), today=TODAY).failed == ()
    with pytest.raises(UsageError, match="the baseline expired on 2026-11-24; save a new one"):
        compare(run, diagnosis, read_baseline(file), today=date(2026, 11, 25))


def test_a_reason_is_needed(tmp_path):
    with pytest.raises(UsageError, match="a baseline needs a reason"):
        saved(tmp_path, reason=" ")
    assert not (tmp_path / "baseline.json").exists()


def test_a_replaced_baseline_keeps_its_reason_and_figures_as_history(tmp_path):
    accuracy = float(read_baseline(saved(tmp_path)).figures["accuracy"].mean())
    run, diagnosis = run_of(tmp_path / "newer", student=b.forgetting(0.02))
    save_baseline([run], [diagnosis], tmp_path / "baseline.json", reason="new data", today=date(2026, 12, 1))
    (entry,) = read_baseline(tmp_path / "baseline.json").history
    assert (entry.saved, entry.reason, entry.figures["accuracy"]) == (TODAY, "first", accuracy)


def test_a_sick_run_is_no_baseline(tmp_path):
    run = load(b.recorded_run(tmp_path / "sick", in_loop=b.shifted(1)))
    diagnosis = diagnose(run)
    assert diagnosis.verdict == "sick"
    with pytest.raises(UsageError, match=r"sick is sick \(KD\d+"):
        save_baseline([run], [diagnosis], tmp_path / "b.json", reason="first")


def test_runs_of_unlike_rows_are_no_baseline(tmp_path):
    with pytest.raises(UsageError, match="good1 cannot be compared with good0: the labels of the held-out rows"):
        saved(tmp_path, {"seed": 0}, {"seed": 3})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.pop("reason"), "reason is missing"),
        (lambda data: data.update(format=2), "format is 2; a newer kddoctor wrote it"),
        (lambda data: data["figures"].update(accuracy=[]), "accuracy has 0 numbers; expected one for each of the runs"),
        (lambda data: data["values"].pop("accuracy"), "figures and values are not of the same names"),
        (lambda data: data["values"]["accuracy"].update(runs=["bits:AAAA"]), "values.accuracy does not hold 2000 val"),
        (lambda data: data["values"]["accuracy"].update(runs=["bits:…"]), "values.accuracy is not base64"),
        (lambda data: data["identity"].update(rows="x"), "identity.rows is 'x'; expected a whole number"),
    ],
)
def test_a_file_that_is_no_baseline_is_named_in_one_line(tmp_path, change, said):
    file = saved(tmp_path)
    data = json.loads(file.read_text("utf-8"))
    change(data)
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(UsageError) as refused:
        read_baseline(file)
    assert str(refused.value).startswith(f"{file}: {said}")


def ranked(path: Path, noise: float = 0.0):
    rng = np.random.default_rng(0)
    z = rng.normal(size=1200)
    labels = (z + rng.normal(size=1200) > 0).astype(np.int64)
    student = z + noise * rng.normal(size=1200)
    arrays = {
        "labels": labels,
        "teacher_logits": z.astype(np.float32),
        "student_logits": student.astype(np.float32),
        "group_ids": np.repeat(np.arange(120), 10),
    }
    run = load(write_run(path, {"task": "ranking"}, predictions={"val": arrays}))
    return run, labels, np.asarray(student, np.float32)


def test_figures_of_rankings_are_those_of_scikit_learn(tmp_path):
    run, labels, scores = ranked(tmp_path / "run", 0.3)
    figures = figures_of(run)
    assert figures["auc"].value == pytest.approx(roc_auc_score(labels, scores))
    queries = [q for q in range(120) if 0 < labels[10 * q : 10 * q + 10].sum() < 10]
    gains = [ndcg_score([labels[10 * q : 10 * q + 10]], [scores[10 * q : 10 * q + 10]], k=10) for q in queries]
    assert figures["ndcg"].value == pytest.approx(np.mean(gains))


def test_the_spread_of_the_area_is_that_of_a_bootstrap(tmp_path):
    run, labels, scores = ranked(tmp_path / "run", 0.3)
    values = figures_of(run)["auc"].values
    rng = np.random.default_rng(1)
    rows = (rng.integers(0, 1200, 1200) for _ in range(200))
    bootstrap = np.std([roc_auc_score(labels[r], scores[r]) for r in rows])
    assert values.std() / np.sqrt(1200) == pytest.approx(bootstrap, rel=0.15)


def test_a_worse_ranking_regresses(tmp_path):
    good, bad = ranked(tmp_path / "good")[0], ranked(tmp_path / "bad", 1.0)[0]
    save_baseline([good], [diagnose(good)], tmp_path / "b.json", reason="first")
    found = compare(bad, diagnose(bad), read_baseline(tmp_path / "b.json"))
    assert {"auc", "ndcg"} <= {comparison.figure for comparison in found.failed}


def test_calibration_error_is_the_usual_one(tmp_path):
    run, _ = run_of(tmp_path / "run", student=b.sharpened(2.0))
    part = run.predictions("val")
    z, labels = part.student_logits.read().astype(float), part.labels.read()
    p = np.exp(z - z.max(1, keepdims=True))
    confidence, right = (p / p.sum(1, keepdims=True)).max(1), z.argmax(1) == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    expected = sum(abs((right - confidence)[bins == k].sum()) for k in range(15)) / len(labels)
    assert figures_of(run)["calibration error"].value == pytest.approx(expected)


def test_single_numbers_may_grow_a_little_and_no_more(tmp_path):
    small, large = (
        run_of(tmp_path / n, observations={"parameters": {"teacher": 9000, "student": s}})
        for n, s in (("a", 1000), ("b", 1100))
    )
    save_baseline([small[0]], [small[1]], tmp_path / "b.json", reason="first")
    baseline: Baseline = read_baseline(tmp_path / "b.json")
    assert by_name(compare(*large, baseline))["parameters"].failed
    grown = replace(baseline, measures={"parameters": np.array([1095.0])})
    assert not by_name(compare(*large, grown))["parameters"].failed
