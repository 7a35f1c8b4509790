"""Views: what they say is what their numbers say, for every kind of task."""

import re
from dataclasses import replace

import numpy as np
import pytest

from kddoctor.engine.diagnosis import WorthReport
from kddoctor.probes.example_gaps import ExampleGapsProbe
from kddoctor.probes.soft_targets import SoftTargetsProbe
from kddoctor.report.views import (
    Missing,
    View,
    before_after,
    checks,
    confusion_difference,
    entropy_curve,
    gap_map,
    gap_waterfall,
    layer_similarity,
    loss_balance,
    read_examples,
    reliability,
    soft_targets_of,
    tradeoff,
    training_curves,
    worst_examples,
)
from kddoctor.report.views.calibration import calibration
from kddoctor.report.views.gap_map import REGIONS
from kddoctor.report.views.layer_similarity import matched_path
from kddoctor.rules.registry import all_rules
from kddoctor.run import load, write_run
from kddoctor.treatment.reading import treatment_of
from tests.builders import recorded_run
from tests.report.runs import KINDS, all_views

ALL = (*KINDS, "sick", "treated", "hostile")
#: Rows of a frame whose every number may be spoken of.
SHORT = 12
#: A number as people read it: not part of a name such as KD106 or block3.
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?%?(?![\w])")


def said(text):
    """(value, how far rounding may be off) of every number of a sentence."""
    for found in NUMBER.findall(text):
        digits = found.replace(",", "").replace("−", "-").rstrip("%")
        step = 10.0 ** -len(digits.partition(".")[2])
        # What is printed with three significant figures may end before its last digit.
        yield found, float(digits), max(0.51 * step, 0.0051 * abs(float(digits)) if "." not in digits else 0)


def known(view):
    """Marks, the size, and the numbers of a short frame or of a long one's first row; as they are and in per cent."""
    whole = len(view.frame) <= SHORT or view.name == "soft_targets_of"
    frame = view.frame if whole else view.frame.head(1)
    values = [*frame.select_dtypes("number").to_numpy(float).ravel(), *view.marks.values(), float(len(view.frame))]
    numbers = np.array([v for v in values if np.isfinite(v)])
    return np.concatenate([numbers, 100 * numbers])


def wrong_numbers(view):
    """Numbers of the answer that are not those of the view."""
    text = view.answer
    names = {str(name) for name in view.frame.select_dtypes(exclude="number").to_numpy().ravel()}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "") if len(name) > 1 else text
    spoken = said(text.replace("95 % interval", ""))
    return [shown for shown, value, slack in spoken if np.abs(np.abs(known(view)) - abs(value)).min() > slack + 1e-9]


@pytest.mark.parametrize("kind", ALL)
def test_every_number_of_a_sentence_is_one_of_the_view(kind, subjects):
    views = [view for view in all_views(subjects(kind)) if isinstance(view, View)]
    assert {view.name: wrong_numbers(view) for view in views} == {view.name: [] for view in views}


def test_a_number_of_another_run_would_be_noticed(subjects):
    views, others = (all_views(subjects(kind)) for kind in ("multiclass", "sick"))
    noticed = [
        view.name
        for view, other in zip(views, others, strict=True)
        if isinstance(view, View) and isinstance(other, View) and wrong_numbers(replace(view, answer=other.answer))
    ]
    assert {"gap_waterfall", "reliability", "gap_map", "worst_examples", "tradeoff", "before_after"} <= set(noticed)


@pytest.mark.parametrize("kind", ALL)
def test_a_view_has_words_or_says_what_to_record(kind, subjects):
    for view in all_views(subjects(kind)):
        if isinstance(view, Missing):
            assert view.question.endswith("?")
            assert view.needs
        else:
            assert view.question.endswith("?")
            assert view.answer.endswith(".")
            assert view.alt.endswith(".")
            assert not view.frame.columns.duplicated().any()


@pytest.mark.parametrize("kind", ["multiclass", "many classes", "binary", "ranking", "multilabel", "tokens"])
def test_every_kind_of_task_has_its_pictures(kind, subjects):
    names = {view.name for view in all_views(subjects(kind)) if isinstance(view, View)}
    assert {
        "gap_waterfall",
        "entropy_curve",
        "reliability",
        "gap_map",
        "worst_examples",
        "confusion_difference",
    } <= names


def test_a_record_without_whole_logits_says_so(subjects):
    found = read_examples(subjects("top-k tokens").run)
    assert isinstance(found, Missing)
    assert "predictions/val.safetensors" in found.needs


# Numbers against the probes ------------------------------------------------------------------------------


def test_the_curve_is_the_probes(subjects):
    of = subjects("multiclass")
    view = entropy_curve(of.run, of.measured)
    temperatures = view.frame["temperature"].tolist()
    probe = SoftTargetsProbe(temperatures, 10)
    probe.update(of.run.predictions("train").teacher_logits.read())
    found = probe.compute()
    np.testing.assert_allclose(view.frame["share_of_largest"], found.entropy_ratio_median, atol=1e-3)
    assert view.marks["temperature"] == 4.0


def test_examples_are_the_probes(subjects):
    run = subjects("multiclass").run
    part, examples = run.predictions("val"), read_examples(run)
    probe = ExampleGapsProbe(10, worst=30)
    probe.update(part.teacher_logits.read(), part.student_logits.read(), part.labels.read())
    found = probe.compute()
    assert worst_examples(examples, 30).frame["row"].tolist() == [gap.index for gap in found.worst]
    assert (examples.student.predicted == examples.label).mean() == pytest.approx(found.student_accuracy)


def test_rows_keep_their_places_where_some_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 4))
    labels[2] = -100
    labels[4, 1] = -100
    logits = rng.normal(size=(6, 4, 5)).astype(np.float32)
    parts = {"val": {"labels": labels, "teacher_logits": logits, "student_logits": -logits}}
    examples = read_examples(load(write_run(tmp_path / "run", {"task": "tokens", "num_classes": 5}, predictions=parts)))
    assert list(zip(examples.row, examples.place, strict=True)) == [
        (i, j) for i in range(6) for j in range(4) if labels[i, j] != -100
    ]
    assert (examples.label == labels[labels != -100]).all()


def test_regions_of_the_map_sum_to_all_rows(subjects):
    examples = read_examples(subjects("multiclass").run)
    view = gap_map(examples)
    lost = examples.student.loss >= view.marks["lost"]
    sure = examples.teacher.confidence >= view.marks["sure"]
    assert sum(view.marks[name] for name in REGIONS.values()) == len(examples)
    assert view.marks[REGIONS[True, False]] == (sure & lost).sum()


def test_a_perfectly_calibrated_model_has_no_error():
    confidence = np.repeat([0.2, 0.6, 0.9], 1000)
    right = np.concatenate([np.arange(1000) < 1000 * share for share in (0.2, 0.6, 0.9)])
    assert calibration(confidence, right, 3).ece == pytest.approx(0, abs=1e-12)


def test_the_interval_of_the_calibration_error_holds_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        confidence = rng.uniform(0.5, 1.0, 400)
        low, high = calibration(confidence, rng.random(400) < confidence - 0.2, 10).interval
        held += low <= 0.2 <= high
    assert 0.82 <= held / 200 <= 0.97


def test_bins_of_few_rows_are_marked(tmp_path):
    run = load(recorded_run(tmp_path / "run", rows=60, steps=0))
    assert reliability(read_examples(run)).frame["small"].all()


def test_confusions_are_counted(subjects):
    examples = read_examples(subjects("multiclass").run)
    frame = confusion_difference(examples).frame
    first = frame.iloc[0]
    chosen = examples.label == first["label"]
    for model in ("teacher", "student"):
        counted = (getattr(examples, model).predicted[chosen] == first["answer"]).sum()
        assert first[f"{model}_rows"] == counted


def test_classes_of_few_rows_have_no_confusions(tmp_path):
    run = load(recorded_run(tmp_path / "run", rows=90, steps=0))
    assert isinstance(confusion_difference(read_examples(run)), Missing)


def test_of_many_classes_the_largest_pairs_are_shown(subjects):
    view = confusion_difference(read_examples(subjects("many classes").run))
    assert (len(view.frame), view.marks["matrix"]) == (20, 0)
    assert view.frame["share"].abs().is_monotonic_decreasing


def test_the_matched_path_follows_the_diagonal_of_equal_models():
    assert matched_path(np.eye(4)) == {(i, i) for i in range(4)}


def test_layers_stand_in_the_order_of_their_numbers(subjects):
    of = subjects("multiclass")
    names = layer_similarity(of.run, of.measured).frame["teacher_layer"].unique().tolist()
    assert names == ["block1", "block4", "block7", "block10"]


def test_declared_pairs_of_layers_are_marked(tmp_path, subjects):
    of = subjects("multiclass")
    meant = of.run.manifest.distillation.model_copy(update={"feature_layers": [("block4", "block6")]})
    manifest = of.run.manifest.model_copy(update={"distillation": meant})
    run = load(of.run.path)
    object.__setattr__(run, "manifest", manifest)
    frame = layer_similarity(run, of.measured).frame
    assert frame.loc[frame["declared"], ["teacher_layer", "student_layer"]].to_numpy().tolist() == [
        ["block4", "block6"]
    ]


# The loss -----------------------------------------------------------------------------------------------


def with_gradients(path, **columns):
    run = load(recorded_run(path))
    object.__setattr__(run, "steps", type(run.steps)(**{**vars(run.steps), **columns}))
    return run


def test_recorded_gradients_give_share_and_cosine(tmp_path):
    a, b = np.array([3.0, 0.0]), np.array([2.0, 2.0])
    ones = np.ones(12)
    run = with_gradients(
        tmp_path / "run",
        kd_grad_norm=np.linalg.norm(a) * ones,
        ce_grad_norm=np.linalg.norm(b) / 2 * ones,
        kd_grad_weight=ones,
        ce_grad_weight=2 * ones,
        loss_grad_norm=np.linalg.norm(a + b) * ones,
        grad_weight_residual=0 * ones,
    )
    view = loss_balance(run, {})
    assert view.marks["median"] == pytest.approx(3 / (3 + np.sqrt(8)))
    assert view.marks["cosine"] == pytest.approx(np.sqrt(0.5))


def test_a_total_with_more_than_two_terms_gives_no_cosine(tmp_path):
    ones = np.ones(12)
    run = with_gradients(
        tmp_path / "run",
        **dict.fromkeys(("kd_grad_norm", "ce_grad_norm", "kd_grad_weight", "ce_grad_weight", "loss_grad_norm"), ones),
        grad_weight_residual=0.3 * ones,
    )
    assert "cosine" not in loss_balance(run, {}).marks


def test_without_gradients_the_sizes_of_the_terms_stand_in(tmp_path):
    run = load(recorded_run(tmp_path / "run"))
    view = loss_balance(run, {})
    kd, ce = run.steps.kd_loss, run.steps.ce_loss
    assert view.frame["of"].unique().tolist() == ["size"]
    assert view.marks["median"] == pytest.approx(np.median(kd / (kd + ce)))
    assert "not known" in view.notes[0]


# Over time ----------------------------------------------------------------------------------------------


def test_rows_of_an_epoch_stand_at_its_last_step(tmp_path):
    rows = [{"step": s, "epoch": s // 10, "loss": 1.0} for s in range(20)]
    rows += [{"split": "val", "epoch": e, "student_accuracy": 0.5 + e / 10} for e in (0, 1)]
    view = training_curves(load(recorded_run(tmp_path / "run", metrics=rows)))
    assert view.frame.loc[view.frame["split"] == "val", "step"].tolist() == [9, 19]
    assert view.marks["best_step"] == 19


def test_values_that_are_not_finite_leave_gaps(tmp_path):
    rows = [{"step": s, "loss": float("nan") if s > 5 else 1.0} for s in range(10)]
    view = training_curves(load(recorded_run(tmp_path / "run", metrics=rows)))
    assert view.marks["broken"] == 4


def test_long_curves_are_thinned(tmp_path):
    rows = [{"step": s, "loss": 1.0 / (s + 1)} for s in range(5000)]
    view = training_curves(load(recorded_run(tmp_path / "run", metrics=rows)))
    assert len(view.frame) <= 400
    assert view.frame["step"].iloc[[0, -1]].tolist() == [0, 4999]


# The outcome --------------------------------------------------------------------------------------------


def test_a_treatment_of_several_causes_is_shown_cause_by_cause(subjects):
    of = subjects("treated")
    several = treatment_of(of.run).model_copy(
        update={"codes": ("KD202", "KD301"), "worth": {"KD202": (2.0, 4.0), "KD301": (0.0, 1.0)}}
    )
    frame = gap_waterfall(of.diagnosis, several).frame.set_index("step")
    assert frame.loc["treating KD202", "points"] == pytest.approx(3.0)
    assert frame.loc["treating KD301", "start"] == pytest.approx(frame.loc["treating KD202", "end"])
    assert frame.loc["treatments together, beyond each alone", "end"] == pytest.approx(100 * of.diagnosis.gap.student)


@pytest.mark.parametrize("kind", ["sick", "treated", "multiclass", "binary"])
def test_steps_of_the_waterfall_lead_from_student_to_teacher(kind, subjects):
    view = gap_waterfall(subjects(kind).diagnosis)
    steps = view.frame[view.frame["kind"].isin(["estimated", "unexplained"])]
    assert view.marks["student"] + steps["points"].sum() == pytest.approx(view.marks["teacher"])
    assert "unexplained" in view.frame["kind"].tolist()


def test_what_causes_are_worth_comes_off_what_is_not_explained(subjects):
    diagnosis = subjects("sick").diagnosis
    worth = WorthReport(points=(10.0, 20.0), measured=False)
    first = diagnosis.causes[0].model_copy(update={"worth": worth})
    known_worth = diagnosis.model_copy(update={"findings": (first, *diagnosis.findings[1:])})
    view = gap_waterfall(known_worth)
    assert view.marks["unexplained"] == pytest.approx(view.marks["gap"] - 15)
    assert view.frame.set_index("kind").loc["estimated", ["low", "high"]].tolist() == [10, 20]


def test_a_model_that_is_worse_and_no_cheaper_is_dominated(subjects):
    of = subjects("multiclass")
    frame = tradeoff(of.run, of.diagnosis).frame
    assert set(frame.loc[frame["dominated"], "model"]) == {"student"}


def test_flips_sum_to_all_rows_and_the_paired_interval_is_the_narrower(subjects):
    after, before = (read_examples(subjects(kind).run) for kind in ("treated", "sick"))
    frame = before_after(after, before).frame
    assert frame.loc[frame["kind"] == "flip", "rows"].sum() == len(after)
    first = frame.iloc[0]
    unpaired = 2 * 1.96 * np.sqrt(sum(p * (1 - p) / len(after) for p in (first["before"], first["after"])))
    assert first["high"] - first["low"] < unpaired


def test_other_rows_are_not_compared(subjects):
    found = before_after(read_examples(subjects("treated").run), read_examples(subjects("many classes").run))
    assert isinstance(found, Missing)


def test_every_code_has_a_state(subjects):
    frame = checks(subjects("sick").diagnosis).frame
    assert frame["code"].tolist() == list(all_rules())
    assert frame.set_index("code").loc["KD106", "state"] == "cause"
    assert (frame.loc[frame["state"] == "not examined", "how"] != "").all()


def test_soft_targets_of_an_example_are_its_softmax(subjects):
    run = subjects("multiclass").run
    view = soft_targets_of(run, 7, (1.0, 4.0))
    z = run.predictions("val").teacher_logits[7].astype(float) / 4
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    shown = view.frame[view.frame["temperature"] == 4.0]
    np.testing.assert_allclose(shown["teacher"], p[shown["class"]], rtol=1e-5)


def test_a_row_beyond_the_last_is_the_last(subjects):
    assert soft_targets_of(subjects("multiclass").run, 10**9).marks["row"] == 599
