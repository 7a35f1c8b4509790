"""Whatever torch computed, forensics names it: family, temperature, reduction and factor."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kddoctor.probes.loss_forms import LossForm
from tests.builders import losses_of
from tests.forensics import losses
from tests.forensics.asking import asked, fed, logits, named

STEPS = logits()
TEMPERATURES = (1.0, 2.0, 4.0, 3.3)
#: Squared errors of logits have no temperature of their own: see the tests of their own below.
WITH_TEMPERATURE = [name for name in losses.FAMILIES if name != "mse"]
#: A cross-entropy with the soft targets is KL plus a constant, and is declared as KL.
DECLARABLE = {"kl": "kl", "soft-cross-entropy": "kl", "reverse-kl": "reverse-kl", "jsd": "jsd"}


def recorded(kd: losses.Loss, mix=(0.1, 0.9), terms: bool = True, steps=STEPS, **how) -> dict[str, np.ndarray]:
    arrays = {name: values for name, values in steps.items() if name != "step"}
    return arrays | losses_of(arrays, kd, mix, terms=terms, **how)


def expected_scale(scale: str, temperature: float) -> str:
    return "1" if temperature == 1.0 else scale


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("family", WITH_TEMPERATURE)
def test_every_family_is_recognised_at_every_temperature_when_its_term_is_recorded(family, temperature):
    arrays = recorded(losses.divergence(family, temperature))
    found = asked(arrays, temperature=temperature, loss=DECLARABLE.get(family, "kl"))
    assert named(found) == (family, temperature, "batchmean", expected_scale("T²", temperature))


@pytest.mark.parametrize("temperature", [1.0, 3.3])
@pytest.mark.parametrize("family", WITH_TEMPERATURE)
def test_every_family_is_recognised_from_the_total_alone(family, temperature):
    found = asked(recorded(losses.divergence(family, temperature), terms=False), temperature=temperature)
    assert named(found) == (family, temperature, "batchmean", expected_scale("T²", temperature))


@pytest.mark.parametrize(
    ("reduction", "scale"), list(itertools.product(losses.REDUCTIONS, ("1", "T", "T²", "2T²", "T⁴")))
)
@pytest.mark.parametrize("temperature", [2.0, 4.0, 3.3])
def test_every_reduction_and_factor_of_kl_is_named(temperature, reduction, scale):
    found = asked(recorded(losses.kl(temperature, reduction=reduction, scale=scale)), temperature=temperature)
    assert named(found) == ("kl", temperature, reduction, scale)


@pytest.mark.parametrize(
    ("reduction", "scale"), list(itertools.product(("batchmean", "mean"), ("1", "T²", "2T²", "T⁴")))
)
def test_reduction_and_factor_are_named_from_the_total_alone(reduction, scale):
    found = asked(recorded(losses.kl(3.3, reduction=reduction, scale=scale), terms=False), temperature=3.3)
    assert named(found) == ("kl", 3.3, reduction, scale)


MIXES = {"declared": (0.1, 0.9), "exchanged": (0.9, 0.1), "additive": (1.0, 0.9), "both whole": (1.0, 1.0)}


@pytest.mark.parametrize("terms", [True, False], ids=["terms recorded", "total only"])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize(("temperature", "scale"), [(1.0, "T²"), (4.0, "T²"), (4.0, "1")])
def test_the_weights_are_those_that_ran(mix, terms, temperature, scale):
    found = asked(recorded(losses.kl(temperature, scale=scale), mix, terms), temperature=temperature)
    assert (found.mix.ce_weight, found.mix.kd_weight) == pytest.approx(mix, rel=1e-3)


@pytest.mark.parametrize("mix", [(0.1, 0.9), (0.9, 0.1)], ids=["declared", "exchanged"])
def test_weights_inside_the_recorded_terms_are_read_out_of_them(mix):
    arrays = recorded(losses.kl(4.0), mix)
    arrays["ce_loss"], arrays["kd_loss"] = mix[0] * arrays["ce_loss"], mix[1] * arrays["kd_loss"]
    found = asked(arrays, weighted_terms=True)
    assert (found.mix.ce_weight, found.mix.kd_weight) == pytest.approx(mix, rel=1e-3)
    assert named(found) == ("kl", 4.0, "batchmean", "T²")


@pytest.mark.parametrize("form", ["smoothed", "weighted by class"])
@pytest.mark.parametrize("mix", [(0.2, 0.8), (0.5, 0.5)], ids=["declared", "another"])
def test_weights_inside_terms_of_smoothed_labels_are_read_out_of_them_and_no_other_form_accuses_anybody(form, mix):
    arrays = recorded(losses.kl(4.0), mix)
    student, labels = (torch.from_numpy(arrays[name]) for name in ("student_logits", "labels"))
    how = (
        {"label_smoothing": 0.1}
        if form == "smoothed"
        else {"weight": torch.linspace(0.5, 3.0, 10, dtype=torch.float64)}
    )
    hard = np.array([float(F.cross_entropy(z, y, **how)) for z, y in zip(student.double(), labels, strict=True)])
    arrays["ce_loss"], arrays["kd_loss"] = mix[0] * hard, mix[1] * arrays["kd_loss"]
    arrays["loss"] = arrays["ce_loss"] + arrays["kd_loss"]
    found = asked(arrays, weighted_terms=True, alpha=0.8)
    expected = mix[0] if form == "smoothed" else 0.2
    assert found.mix.ce_weight == pytest.approx(expected, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["kl", "reverse-kl", "soft-cross-entropy", "jsd"]),
    temperature=st.sampled_from([1.5, 2.0, 3.0, 5.0, 8.0]),
    reduction=st.sampled_from(["batchmean", "mean"]),
    scale=st.sampled_from(["1", "T²"]),
    classes=st.sampled_from([3, 7, 20]),
    seed=st.integers(0, 10**6),
)
def test_a_named_product_is_never_another_number(family, temperature, reduction, scale, classes, seed):
    steps = logits(classes=classes, seed=seed)
    kd = losses.divergence(family, temperature, reduction=reduction, scale=scale)
    found = asked(recorded(kd, steps=steps), temperature=temperature, loss=DECLARABLE.get(family, "kl"))
    factor = losses.SCALES[scale](temperature) / (classes if reduction == "mean" else 1)
    assert found.term.form == LossForm(family, temperature, temperature)
    assert found.term.factor == pytest.approx(factor, rel=1e-3)
    assert any((e.reduction, e.scale) == (reduction, scale) for e in found.term.explanations)


@pytest.mark.parametrize("beta", [0.1, 0.3, 0.5, 0.9])
def test_the_weight_inside_a_jensen_shannon_divergence_is_found(beta):
    found = asked(recorded(losses.divergence("jsd", 4.0, beta=beta)), loss="jsd")
    assert found.term.form.beta == beta


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0, 20.0])
def test_a_temperature_that_nobody_declared_is_found_on_the_grid(temperature):
    assert named(asked(recorded(losses.kl(temperature)), temperature=4.0))[:2] == ("kl", temperature)


@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
def test_a_squared_error_is_as_declared_whichever_mean_it_takes(reduction):
    found = asked(recorded(losses.divergence("mse", 1.0, reduction=reduction)), loss="mse", temperature=None)
    assert found.term.form.family == "mse"
    assert found.term.explanations[0].declared


def test_a_squared_error_of_softened_logits_is_a_squared_error_over_t_squared():
    found = asked(recorded(losses.divergence("mse", 4.0, scale="1")), loss="mse")
    assert (found.term.form.family, found.term.explanations[0].scale) == ("mse", "1/T²")


def test_the_teachers_top_class_as_the_target_is_recognised():
    assert asked(recorded(losses.hard)).term.form.family == "hard"


@pytest.mark.parametrize(("teacher", "student"), [(1.0, 4.0), (4.0, 1.0), (4.0, 2.0)])
@pytest.mark.parametrize("family", ["kl", "reverse-kl", "soft-cross-entropy"])
def test_different_temperatures_on_the_two_sides_are_found(family, teacher, student):
    kd = losses.divergence(family, 4.0, teacher_temperature=teacher, student_temperature=student)
    form = asked(recorded(kd)).term.form
    assert (form.family, form.teacher_temperature, form.student_temperature) == (family, teacher, student)


TWICE = {"teacher": {"teacher": losses.softmax}, "student": {"student": losses.softmax}}
TWICE["both"] = TWICE["teacher"] | TWICE["student"]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("sides", TWICE.values(), ids=TWICE)
def test_a_softmax_taken_twice_is_found_on_the_side_where_it_was(sides, temperature):
    form = asked(recorded(losses.kl(temperature, **sides)), temperature=temperature).term.form
    found = {side for side in ("teacher", "student") if getattr(form, f"{side}_transform") == "softmax"}
    assert (found, form.temperature) == (set(sides), temperature)


def test_standardised_logits_are_recognised():
    kd = losses.kl(2.0, teacher=losses.standardised, student=losses.standardised)
    form = asked(recorded(kd), temperature=2.0).term.form
    assert (form.teacher_transform, form.student_transform) == ("standardised", "standardised")


def test_a_softmax_over_the_batch_is_recognised():
    assert asked(recorded(losses.kl_over_the_batch())).term.form.axis == "batch"


def test_recorded_probabilities_whose_logarithm_was_taken_are_told_from_a_second_softmax():
    steps = dict(STEPS)
    steps["teacher_logits"] = torch.softmax(torch.from_numpy(STEPS["teacher_logits"]), -1).numpy()
    form = asked(recorded(losses.of_logged_probabilities(), steps=steps)).term.form
    assert (form.family, form.teacher_transform, form.temperature) == ("kl", "log", 4.0)


@pytest.mark.parametrize("terms", [True, False], ids=["term recorded", "total only"])
def test_a_loss_unlike_any_form_gets_no_name(terms):
    assert fed(recorded(losses.unlike_any, terms=terms)).compute().term is None
