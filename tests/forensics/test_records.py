"""What forensics makes of records that are not ideal: schedules, NaN, few steps, half precision, masks, other tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kddoctor.probes.loss_forensics import Declared, LossForensics, LossForensicsProbe
from tests.builders import losses_of
from tests.forensics import losses
from tests.forensics.asking import asked, fed, logits, named

STEPS = logits(steps=12)


def recorded(kd=None, mix=(0.1, 0.9), steps: Mapping[str, np.ndarray] = STEPS, **how) -> dict[str, np.ndarray]:
    return dict(steps) | losses_of(steps, kd or losses.kl(), mix, **how)


def as_declared(found: LossForensics) -> bool:
    return found.declared_holds


def test_the_declared_loss_is_accepted():
    assert as_declared(asked(recorded()))


def test_the_declared_loss_is_accepted_from_the_total_alone():
    assert as_declared(asked(recorded(terms=False)))


@pytest.mark.parametrize(("count", "holds"), [(20, True), (12, False)])
def test_one_batch_of_twenty_may_have_been_recorded_in_part(count, holds):
    columns = recorded(steps=logits(steps=count))
    columns["kd_loss"][0] *= 1.05
    assert as_declared(asked(columns)) == holds


def test_another_loss_is_not_taken_for_the_declared_one():
    assert not as_declared(asked(recorded(losses.kl(scale="1"))))


def test_a_recorded_cross_entropy_is_recognised():
    assert asked(recorded()).hard_term == "cross-entropy"


@pytest.mark.parametrize("amount", [0.05, 0.1, 0.3])
def test_label_smoothing_is_recognised_and_leaves_the_weights_readable(amount):
    found = asked(recorded(ce=losses.smoothed(amount)))
    assert found.hard_term == "label-smoothed cross-entropy"
    assert found.mix.fit.weights == pytest.approx({"ce": 0.1, "kd": 0.9})


@pytest.mark.parametrize("scale", ["T²", "1"])
def test_label_smoothing_is_seen_through_in_the_total_alone(scale):
    found = asked(recorded(ce=losses.smoothed(0.1), kd=losses.kl(scale=scale), terms=False))
    assert found.term is not None
    assert (found.term.form.family, found.term.form.temperature) == ("kl", 4.0)
    assert found.term.explanations[0].scale == scale
    assert found.mix.ce_weight == pytest.approx(0.1, rel=1e-3)


def test_a_total_that_nothing_explains_is_not_explained_by_smoothing():
    arrays = recorded(terms=False)
    arrays["loss"] = np.random.default_rng(0).uniform(1, 2, len(arrays["loss"]))
    assert asked(arrays).term is None


def test_a_cross_entropy_of_probabilities_is_recognised():
    assert asked(recorded(ce=losses.of_probabilities)).hard_term == "cross-entropy of softmax(softmax(z))"


SCHEDULES = {
    "rising": lambda share: (1 - 0.9 * share, 0.9 * share),
    "falling": lambda share: (0.1 + 0.8 * share, 0.9 - 0.8 * share),
    "added": lambda share: (1.0, 0.2 + 0.7 * share),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_weight_that_moves_steadily_is_a_schedule(schedule):
    found = asked(recorded(mix=schedule))
    assert found.mix.schedule == pytest.approx((schedule(0.0)[1], schedule(1.0)[1]), abs=1e-4)


def test_weights_that_jump_about_are_no_schedule():
    values = iter(np.random.default_rng(0).random(100))
    assert asked(recorded(mix=lambda share: (1.0, float(next(values))))).mix is None


@pytest.mark.parametrize("broken", ["loss", "student_logits", "teacher_logits"])
def test_a_step_with_nan_is_left_out(broken):
    arrays = recorded()
    arrays[broken] = arrays[broken].copy()
    arrays[broken][[2, 7]] = np.nan
    found = asked(arrays)
    assert (found.steps, found.nonfinite_losses, named(found)) == (10, 2, ("kl", 4.0, "batchmean", "T²"))


def test_a_record_of_nothing_but_nan_has_no_form_and_raises_nothing():
    arrays = recorded()
    arrays["loss"] = np.full(12, np.nan)
    found = asked(arrays)
    assert (found.steps, found.term, found.finite_logits_at_nonfinite_loss) == (0, None, True)


def test_no_steps_at_all_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match="at least one recorded step"):
        LossForensicsProbe(Declared(None, None, None)).compute()


def test_equal_temperature_square_and_class_count_are_reported_as_ambiguous():
    steps = logits(classes=16)
    found = asked(recorded(losses.kl(4.0, scale="1"), steps=steps))
    assert {(e.reduction, e.scale) for e in found.term.explanations} == {("batchmean", "1"), ("mean", "T²")}


def test_a_single_recorded_step_is_enough_to_accept_the_declared_loss():
    steps = {name: values[:1] for name, values in STEPS.items()}
    found = asked(recorded(steps=steps))
    assert as_declared(found)
    assert named(found) == ("kl", 4.0, "batchmean", "T²")


def test_a_single_total_identifies_no_form():
    steps = {name: values[:1] for name, values in STEPS.items()}
    assert fed(recorded(losses.kl(scale="1"), steps=steps, terms=False)).compute().term is None


def test_a_student_equal_to_its_teacher_is_no_fault():
    steps = dict(STEPS) | {"student_logits": STEPS["teacher_logits"]}
    found = asked(recorded(steps=steps))
    assert found.divergence == pytest.approx(0.0, abs=1e-9)
    assert as_declared(found)


def test_half_precision_logits_accept_the_declared_loss():
    steps = dict(STEPS)
    arrays = recorded()
    for name in ("student_logits", "teacher_logits"):
        arrays[name] = steps[name].astype(np.float16)
    found = asked(arrays, precision="F16")
    assert as_declared(found)
    assert found.term.form.objective.family == "kl"


@settings(max_examples=12, deadline=None)
@given(chunk=st.integers(1, 12))
def test_chunks_change_nothing(chunk):
    arrays = recorded(losses.kl(reduction="mean"))
    whole, parts = asked(arrays), asked(arrays, chunk=chunk)
    np.testing.assert_array_equal(whole.term.errors, parts.term.errors)
    assert (named(whole), whole.mix.fit.weights) == (named(parts), parts.mix.fit.weights)


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_merged_workers_find_what_one_pass_finds(cut):
    arrays = recorded(losses.kl(scale="1"))
    whole = fed(arrays)
    first, second = fed(arrays, steps=slice(0, cut)), fed(arrays, steps=slice(cut, None))
    first.merge(second)
    a, b = whole.compute(), first.compute()
    np.testing.assert_array_equal(a.term.errors, b.term.errors)
    assert (named(a), a.mix.fit.weights, a.classes) == (named(b), b.mix.fit.weights, b.classes)


def test_computing_twice_gives_the_same_answer():
    probe = fed(recorded())
    assert named(probe.compute()) == named(probe.compute())


def test_a_constant_added_to_every_row_of_logits_changes_nothing():
    arrays = recorded(losses.kl(scale="1"))
    arrays["teacher_logits"] = arrays["teacher_logits"] + 100
    assert named(asked(arrays)) == ("kl", 4.0, "batchmean", "1")


def test_the_share_of_the_gradient_is_that_of_autograd():
    found = asked(recorded())
    s = torch.from_numpy(STEPS["student_logits"][3]).requires_grad_()
    t, y = torch.from_numpy(STEPS["teacher_logits"][3]), torch.from_numpy(STEPS["labels"][3])
    (kd,) = torch.autograd.grad(0.9 * losses.kl()(s, t, y), s)
    (ce,) = torch.autograd.grad(0.1 * F.cross_entropy(s, y), s)
    assert found.kd_share[3] == pytest.approx(float(kd.norm() / (kd.norm() + ce.norm())), rel=1e-4)


# Yes-or-no tasks and sequences --------------------------------------------------------------------------


def yes_or_no(*shape: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, shape)
    teacher = (4.0 * labels - 2 + rng.normal(size=shape)).astype(np.float32)
    student = (0.5 * teacher + rng.normal(size=shape)).astype(np.float32)
    return {"student_logits": student, "teacher_logits": teacher, "labels": labels}


def with_binary_losses(steps: dict[str, np.ndarray], kd: losses.Loss) -> dict[str, np.ndarray]:
    def own(s: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(s, y.float())

    return steps | losses_of(steps, kd, ce=own)


@pytest.mark.parametrize("scale", ["1", "T²"])
@pytest.mark.parametrize("temperature", [2.0, 3.3])
def test_binary_cross_entropy_with_soft_targets_is_a_cross_entropy_with_soft_targets(temperature, scale):
    arrays = with_binary_losses(yes_or_no(8, 32), losses.binary_soft(temperature, scale))
    found = asked(arrays, link="sigmoid", temperature=temperature)
    assert named(found) == ("soft-cross-entropy", temperature, "batchmean", scale)


def test_a_mean_over_the_labels_of_a_multilabel_row_is_no_wrong_reduction():
    arrays = with_binary_losses(yes_or_no(8, 32, 5), losses.binary_soft(2.0))
    found = asked(arrays, link="sigmoid", temperature=2.0)
    assert named(found) == ("soft-cross-entropy", 2.0, "per-label", "T²")


def tokens(kd, classes: int = 12) -> dict[str, np.ndarray]:
    """Six steps of four sequences of seven positions; how many of them count differs from step to step."""
    flat = logits(steps=6, batch=28, classes=classes)
    steps = {name: values.reshape(6, 4, 7, *values.shape[2:]) for name, values in flat.items()}
    rng = np.random.default_rng(8)
    mask = rng.random((6, 4, 7)) < np.linspace(0.4, 0.9, 6)[:, None, None]
    mask[:, :, 0] = True
    steps["labels"] = np.where(mask, steps["labels"], -100)
    table = []
    for k in range(6):
        s, t, y = (torch.from_numpy(steps[name][k]) for name in ("student_logits", "teacher_logits", "labels"))
        counts = torch.from_numpy(mask[k])
        soft, own = kd(s, t, counts), F.cross_entropy(s.flatten(0, 1), y.flatten())
        table.append((float(0.1 * own + 0.9 * soft), float(soft), float(own)))
    loss, kd_loss, ce_loss = np.array(table).T
    return steps | {"mask": mask, "loss": loss, "kd_loss": kd_loss, "ce_loss": ce_loss}


def positions(s: torch.Tensor, t: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """[B, L] divergences."""
    return F.kl_div(F.log_softmax(s / temperature, -1), F.softmax(t / temperature, -1), reduction="none").sum(-1)


OVER_POSITIONS = {
    "batchmean": lambda s, t, counts: 4 * positions(s, t)[counts].mean(),
    "mean": lambda s, t, counts: 4 * positions(s, t)[counts].mean() / s.shape[-1],
}


@pytest.mark.parametrize("reduction", OVER_POSITIONS)
def test_masked_positions_are_left_out_of_the_mean(reduction):
    found = asked(tokens(OVER_POSITIONS[reduction]), temperature=2.0)
    assert found.term.form.masked
    assert named(found) == ("kl", 2.0, reduction, "T²")


def test_a_mask_that_the_loss_ignored_is_noticed():
    found = asked(tokens(lambda s, t, counts: 4 * positions(s, t).mean()), temperature=2.0)
    assert (found.term.form.family, found.term.form.masked) == ("kl", False)


def test_labels_to_ignore_stand_in_for_a_mask():
    arrays = tokens(OVER_POSITIONS["batchmean"])
    del arrays["mask"]
    assert named(asked(arrays, temperature=2.0)) == ("kl", 2.0, "batchmean", "T²")


PADDED = {
    "a sum over positions, by the number of sequences": lambda s, t, counts: 4 * positions(s, t)[counts].sum() / len(s),
    "a sum over positions": lambda s, t, counts: 4 * positions(s, t)[counts].sum(),
}


@pytest.mark.parametrize("kd", PADDED.values(), ids=PADDED)
def test_a_sum_over_tokens_is_never_taken_for_the_declared_mean(kd):
    assert not as_declared(asked(tokens(kd), temperature=2.0))
