"""What the snapshots of a student say: when layers became alike, and which examples were hard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kddoctor.errors import RunError
from kddoctor.probes.layer_similarity import exact_cka
from kddoctor.report.views import Missing, View, cartography, similarity_over_time
from kddoctor.report.views.cartography import REGIONS, mapped
from kddoctor.run import load
from tests.builders import recorded_run
from tests.report.runs import multiclass


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return multiclass(tmp_path_factory.mktemp("snapshots") / "run")


def taken(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "snapshots" / "val.safetensors")


def test_similarity_of_every_pair_at_every_snapshot_is_cka_of_these_rows(seen):
    view = similarity_over_time(load(seen))
    assert isinstance(view, View)
    assert len(view.frame) == 4 * 4 * 3
    features, arrays = load_file(seen / "features" / "val.safetensors"), taken(seen)
    one = exact_cka({"t": features["teacher/block4"]}, {"s": arrays["student/block6"][2].astype(np.float32)})
    at = view.frame.set_index(["step", "teacher_layer", "student_layer"])["cka"]
    assert at[20, "block4", "block6"] == pytest.approx(float(one.cka[0, 0]), abs=1e-6)


def test_each_student_layer_has_one_partner_whose_curve_is_drawn(seen):
    view = similarity_over_time(load(seen))
    assert isinstance(view, View)
    partners = view.frame[view.frame["partner"]]
    assert list(partners.groupby(["student_layer", "step"]).size().unique()) == [1]


def test_a_student_that_grows_towards_its_teacher_becomes_more_alike(seen):
    view = similarity_over_time(load(seen))
    assert isinstance(view, View)
    assert view.marks["last_cka"] > view.marks["first_cka"]
    assert f"{view.marks['last_cka']:.2f}" in view.answer


def test_the_map_is_mean_and_deviation_of_the_labels_probability(seen):
    run = load(seen)
    view = cartography(run)
    assert isinstance(view, View)
    table = mapped(view.frame, view.marks["sure"]).set_index("row")
    z = taken(seen)["student_logits"][:, 7].astype(float)
    p = np.exp(z - z.max(1, keepdims=True))
    label = int(run.predictions("val").labels[7])
    of_label = (p / p.sum(1, keepdims=True))[:, label]
    assert table.loc[7, "confidence"] == pytest.approx(of_label.mean(), rel=1e-4)
    assert table.loc[7, "variability"] == pytest.approx(of_label.std(), rel=1e-3, abs=1e-6)
    assert sum(view.marks[name] for name in REGIONS) == view.marks["rows"] == len(table)


def test_fewer_snapshots_can_be_looked_at(seen):
    view = cartography(load(seen))
    assert isinstance(view, View)
    first = mapped(view.frame, view.marks["sure"], until=10)
    assert len(first) == view.marks["rows"]
    assert set(first["correctness"]) <= {0.0, 0.5, 1.0}


def test_without_snapshots_the_line_of_the_recorder_is_named(tmp_path):
    run = load(recorded_run(tmp_path / "run", steps=0))
    for found in (similarity_over_time(run), cartography(run)):
        assert isinstance(found, Missing)
        assert "run.snapshot(" in found.needs


def test_two_snapshots_are_too_few_for_variability(seen, tmp_path):
    run = multiclass(tmp_path / "run")
    save_file({k: np.ascontiguousarray(v[:2]) for k, v in taken(run).items()}, run / "snapshots" / "val.safetensors")
    found = cartography(load(run))
    assert isinstance(found, Missing)
    assert "at least 3 times" in found.needs


def test_a_snapshot_of_broken_logits_is_left_out(tmp_path):
    run = multiclass(tmp_path / "run")
    arrays = taken(run)
    arrays["student_logits"][1, 0, 0] = np.nan
    save_file(arrays, run / "snapshots" / "val.safetensors")
    view = cartography(load(run))
    assert isinstance(view, View)
    assert view.marks["snapshots"] == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"step": np.array([3, 2, 1, 0])}, "ascending"),
        ({"step": np.zeros((2, 2), np.int64)}, "step is"),
        ({"student_logits": np.zeros((4, 3, 10), np.float32)}, "n rows in every array"),
        ({"epoch": np.arange(9)}, "epoch is"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, changed, words):
    run = multiclass(tmp_path / "run")
    save_file({**taken(run), **changed}, run / "snapshots" / "val.safetensors")
    with pytest.raises(RunError, match=words) as error:
        load(run)
    assert "snapshots/val.safetensors" in str(error.value)
    assert "\n" not in str(error.value)
