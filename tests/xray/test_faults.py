"""Every way in which the benchmark gets a loss wrong is named from outside."""

import pytest
import torch

import kddoctor
from kddoctor.bench.fault import Level, all_faults
from kddoctor.bench.recipe import Recipe

CODES = [
    "KD110",
    "KD111",
    "KD201",
    "KD202",
    "KD203",
    "KD204",
    "KD206",
    "KD207",
    "KD208",
    "KD209",
    "KD210",
    "KD211",
    "KD213",
]
#: Their edit is outside the loss, or cannot be told from KD110 by any call of it.
OUTSIDE = {"student_against_itself", "labels_for_targets"}
EDITS = [
    pytest.param(code, edit, id=f"{code}-{edit.__name__}")
    for code in CODES
    for edit in (*all_faults()[code].seen, *all_faults()[code].unseen)
    if edit.__name__ not in OUTSIDE
]


def loss_of(recipe):
    def loss_fn(student, teacher, labels):
        kd = recipe.kd_loss(student, teacher, recipe.temperature)
        return recipe.mix(recipe.ce_loss(student, labels), kd, recipe.alpha)

    return loss_fn


def xray_of(recipe, loss_fn=None):
    return kddoctor.xray(
        loss_fn or loss_of(recipe),
        loss=recipe.loss,
        temperature=recipe.temperature,
        alpha=recipe.alpha,
        temperature_squared=recipe.temperature_squared,
    )


@pytest.mark.parametrize(("code", "edit"), EDITS)
def test_the_fault_is_named(code, edit):
    found = xray_of(edit(Recipe(), Level.SEVERE))
    assert code in found.codes, f"\n{found}"


def test_a_sound_recipe_is_healthy():
    assert xray_of(Recipe()).healthy


def test_a_teacher_whose_outputs_are_probabilities_is_seen_as_a_softmax_taken_twice():
    whole = loss_of(Recipe())
    found = xray_of(Recipe(), lambda s, t, y: whole(s, torch.softmax(t, -1), y))
    assert found.codes == ("KD205",), f"\n{found}"
