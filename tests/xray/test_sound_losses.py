"""Sound losses of the kinds that people use are recognised, and none of them is called sick."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import kddoctor
from tests.xray import public_losses as public

DECLARED = {"temperature": 4.0, "alpha": 0.9}
LOGITS = [
    (public.plain_kd, "kl", {"loss": "kl", **DECLARED}),
    (public.plain_kd, "kl", {}),
    (public.unweighted_labels, "kl", {"loss": "kl", **DECLARED}),
    (public.soft_targets, "kl", {"loss": "kl", **DECLARED}),
    (public.soft_cross_entropy, "soft-cross-entropy", {"loss": "kl", **DECLARED}),
    (public.smoothed_labels, "kl", {"loss": "kl", "temperature": 4.0}),
    (public.focal_labels, "kl", {"loss": "kl", **DECLARED}),
    (public.both_summed, "kl", {"loss": "kl", **DECLARED}),
    (public.KDLoss(4.0, 0.9), "kl", {"loss": "kl", **DECLARED}),
    (public.decoupled, "dkd", {"temperature": 4.0}),
    (public.dist, "dist", {"temperature": 4.0}),
    (public.logit_mse, "mse", {"loss": "mse", **DECLARED}),
    (public.logit_mse_summed_over_classes, "mse", {"loss": "mse", "alpha": 0.9}),
    (nn.MSELoss(), "mse", {}),
    (public.gkd, "jsd", {"loss": "jsd"}),
    (public.gkd_quarter, "jsd", {"loss": "jsd", "temperature": 1.0}),
    (public.minillm, "reverse-kl", {"loss": "reverse-kl", "temperature": 1.0}),
    (public.distillm, "skew-kl", {}),
    (public.jeffreys, "jeffreys", {}),
    (public.standardised, "kl", {}),
    (public.masked_tokens, "kl", {"loss": "kl", **DECLARED}),
    (public.shifted_tokens, "kl", {"loss": "kl", **DECLARED}),
]
FEATURES = [
    (nn.MSELoss(), "hint-mse", (12,), (12,)),
    (public.HintWithProjector(16, 32), "hint-mse", (16,), (32,)),
    (public.hint_cosine, "hint-cosine", (32,), (32,)),
    (public.attention_transfer, "attention-transfer", (16, 6, 6), (32, 6, 6)),
    (public.similarity_preserving, "similarity-preserving", (16,), (32,)),
]


@pytest.mark.parametrize(("loss_fn", "family", "declared"), LOGITS)
def test_a_loss_of_logits_is_recognised_and_healthy(loss_fn, family, declared):
    found = kddoctor.xray(loss_fn, **declared)
    assert found.healthy, f"\n{found}"
    assert found.facts.term.family == family


@pytest.mark.parametrize(("loss_fn", "family", "student", "teacher"), FEATURES)
def test_a_loss_of_features_is_recognised_and_healthy(loss_fn, family, student, teacher):
    found = kddoctor.xray(loss_fn, student_shape=student, teacher_shape=teacher)
    assert found.healthy, f"\n{found}"
    assert found.facts.term.family == family


@pytest.mark.parametrize("classes", [2, 3, 100])
@pytest.mark.parametrize("loss_fn", [public.plain_kd, public.decoupled, public.dist, public.gkd])
def test_the_number_of_classes_does_not_matter(loss_fn, classes):
    found = kddoctor.xray(loss_fn, num_classes=classes, rows=16)
    assert found.healthy, f"\n{found}"


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    temperature=st.floats(1.2, 12.0),
    alpha=st.floats(0.05, 0.95),
    classes=st.integers(2, 40),
    rows=st.integers(3, 20),
    seed=st.integers(0, 2**31),
    reverse=st.booleans(),
)
def test_temperature_weights_and_direction_are_read_off(temperature, alpha, classes, rows, seed, reverse):
    def loss_fn(student, teacher, labels):
        a, b = (teacher, student) if reverse else (student, teacher)
        soft = F.kl_div((a / temperature).log_softmax(-1), (b / temperature).softmax(-1), reduction="batchmean")
        return (1 - alpha) * F.cross_entropy(student, labels) + alpha * temperature**2 * soft

    found = kddoctor.xray(loss_fn, temperature=temperature, alpha=alpha, num_classes=classes, rows=rows, seed=seed)
    assert found.healthy, f"\n{found}"
    assert found.facts.term.family == ("reverse-kl" if reverse else "kl")
    assert found.facts.term.temperature == pytest.approx(temperature, rel=1e-3)
    weights = found.facts.weights
    assert (weights.labels, weights.distillation) == pytest.approx((1 - alpha, alpha), rel=1e-3)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(temperature=st.floats(1.5, 8.0), classes=st.integers(3, 30), rows=st.integers(3, 16), seed=st.integers(0, 999))
def test_a_mean_over_classes_is_never_taken_for_a_missing_t_squared(temperature, classes, rows, seed):
    def loss_fn(student, teacher, labels):
        soft = F.kl_div((student / temperature).log_softmax(-1), (teacher / temperature).softmax(-1), reduction="none")
        return 0.5 * F.cross_entropy(student, labels) + 0.5 * temperature**2 * soft.mean()

    found = kddoctor.xray(loss_fn, temperature=temperature, alpha=0.5, num_classes=classes, rows=rows, seed=seed)
    assert found.codes == ("KD201",), f"\n{found}"


@pytest.mark.parametrize(("classes", "rows", "seed"), [(4, 5, 1), (10, 7, 2), (17, 9, 4)])
@pytest.mark.parametrize("loss_fn", [public.decoupled, public.dist, public.gkd_quarter, public.logit_mse])
def test_the_verdict_does_not_hang_on_the_probes(loss_fn, classes, rows, seed):
    found = kddoctor.xray(loss_fn, num_classes=classes, rows=rows, seed=seed)
    assert found.healthy, f"\n{found}"


def test_a_module_in_single_precision_keeps_its_state():
    loss_fn = public.HintWithProjector(8, 8)
    before = {name: value.clone() for name, value in loss_fn.state_dict().items()}
    state = torch.get_rng_state()
    kddoctor.xray(loss_fn, student_shape=(8,))
    assert all(torch.equal(value, before[name]) for name, value in loss_fn.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
