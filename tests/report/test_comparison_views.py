"""Views of two runs, of one example, and of one check: the words say what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from kddoctor.engine import diagnose
from kddoctor.engine.measuring import measure
from kddoctor.report.views import Missing, read_examples, training_curves
from kddoctor.report.views.cause_changes import cause_changes
from kddoctor.report.views.check_evidence import check_evidence
from kddoctor.report.views.config_difference import config_difference
from kddoctor.report.views.curve_window import curve_window, curves_of_two
from kddoctor.report.views.flipped_examples import flipped_examples
from kddoctor.report.views.layer_dimensions import layer_dimensions
from kddoctor.report.views.raw_input import describe_input
from kddoctor.report.views.top_classes import top_classes
from kddoctor.run import load
from tests.builders import forgetting, recorded_run
from tests.forensics import losses


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    sick = recorded_run(
        folder / "sick", kd=losses.kl(reduction="mean", scale="1"), student=forgetting(0.3), training={"epochs": 9}
    )
    return load(sick), load(recorded_run(folder / "healthy"))


def test_a_cause_of_the_first_run_alone_is_cured(pair):
    view = cause_changes(*map(diagnose, pair))
    assert dict(zip(view.frame["code"], view.frame["change"], strict=True))["KD201"] == "cured"
    back = cause_changes(*map(diagnose, reversed(pair)))
    assert dict(zip(back.frame["code"], back.frame["change"], strict=True))["KD201"] == "new"
    assert set(cause_changes(*[diagnose(pair[0])] * 2).frame["change"]) == {"same"}


def test_a_cause_that_the_second_run_cannot_show_is_not_called_cured(pair, tmp_path):
    blind = load(recorded_run(tmp_path / "blind", steps=0))
    view = cause_changes(diagnose(pair[0]), diagnose(blind))
    assert dict(zip(view.frame["code"], view.frame["change"], strict=True))["KD201"] == "not examined"


def test_every_key_that_differs_is_named(pair):
    view = config_difference(*(run.manifest for run in pair))
    changed = view.frame[view.frame["differs"]]
    assert list(changed["key"]) == ["training.epochs"]
    assert list(changed.iloc[0][["a", "b"]]) == ["9", "18"]
    assert view.answer.startswith(f"1 of {len(view.frame)} keys")


def test_turned_examples_are_those_that_one_student_has_right(pair):
    a, b = map(read_examples, pair)
    view = flipped_examples(a, b)
    right = [examples.student.predicted == examples.label for examples in (a, b)]
    assert view.marks == {"fixed": float((~right[0] & right[1]).sum()), "broken": float((right[0] & ~right[1]).sum())}
    rows = view.frame.loc[view.frame["change"] == "fixed", "row"]
    assert not right[0][rows].any()
    assert right[1][rows].all()


def test_runs_of_other_rows_are_not_paired(pair, tmp_path):
    other = read_examples(load(recorded_run(tmp_path / "other", rows=300)))
    assert isinstance(flipped_examples(read_examples(pair[0]), other), Missing)


def test_a_window_counts_the_values_in_it(pair):
    view = training_curves(pair[1])
    table = curve_window(view, 0, 50).set_index(["key", "split"])
    assert table.loc[("loss", "train"), "values"] == 6
    both = curves_of_two(view, view)
    assert set(both.frame["run"]) == {"A", "B"}
    assert len(both.frame) == 2 * len(view.frame)


def test_the_top_classes_are_those_of_the_softmax(pair):
    run = pair[1]
    view = top_classes(run, 5)
    logits = run.predictions("val").student_logits[5:6][0].astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    shown = view.frame[view.frame["model"] == "student"]
    assert list(shown["class"]) == list(np.argsort(-p)[:5])
    np.testing.assert_allclose(shown["probability"], np.sort(p)[::-1][:5], rtol=1e-6)
    assert view.marks["label"] == run.predictions("val").labels[5]


def test_every_weighed_measurement_is_listed_with_its_limit(pair):
    measured = measure(pair[0])
    frame = check_evidence(measured).frame
    assert frame[(frame["code"] == "KD201") & frame["supports"]]["threshold"].notna().any()
    assert set(frame["grade"]) <= {"statistical", "interventional", "proof"}


def test_without_layers_it_says_how_to_record_them(pair):
    found = layer_dimensions(measure(pair[0]))
    assert isinstance(found, Missing)
    assert "layers=" in found.needs


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.zeros((3, 8, 8), np.float32), "image"),
        (np.zeros((1, 8, 8), np.float32), "image"),
        (np.zeros((8, 8), np.float32), "image"),
        (np.zeros((8, 8, 3), np.uint8), "image"),
        (np.arange(12), "tokens"),
        (np.array([4, 17]), "pair"),
        (np.zeros(13, np.float32), "table"),
    ],
)
def test_an_input_is_shown_as_what_it_is(values, kind):
    assert describe_input(values).kind == kind


def test_an_image_goes_from_black_to_white():
    image = describe_input(np.array([[[-2.0, 0.0], [2.0, 6.0]]], np.float32))
    np.testing.assert_allclose(image.values, [[0, 0.25], [0.5, 1]])


def test_columns_have_their_names_where_the_run_gives_them():
    assert describe_input(np.zeros(2, np.float32), ["age", "height\x1b[0m"]).words == ("age", "height [0m")
    assert describe_input(np.array([4, 17])).words == ("user", "item")
    assert describe_input(np.zeros(3, np.float32), ["age"]).words == ("column 0", "column 1", "column 2")
