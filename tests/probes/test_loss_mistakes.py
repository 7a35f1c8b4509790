"""Formulas that are mistakes are recognised from the numbers that torch gives for them, with their parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kddoctor.probes.gradient_scale import part_of_rows, ratio
from kddoctor.probes.loss_mistakes import LossMistakes, search_mistakes
from kddoctor.probes.loss_numerics import first_broken_gradient, noise_of
from kddoctor.probes.mistaken_forms import StepRows
from kddoctor.probes.token_shift import found_within, sequence_shifts, shifted_cross_entropy

T, B, L, V = 1.5, 6, 9, 12
Formula = Callable[[Tensor, Tensor, Tensor], Tensor]


def kl(s: Tensor, t: Tensor) -> Tensor:
    return T**2 * F.kl_div(F.log_softmax(s / T, -1), F.softmax(t / T, -1), reduction="batchmean")


def steps(seed: int = 0, count: int = 10) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(student, teacher [B, L, V], labels [B, L] with padding) of some steps."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        t = rng.normal(scale=2.5, size=(B, L, V)).astype(np.float32)
        s = (0.2 + 0.06 * k) * t + rng.normal(scale=0.8, size=(B, L, V)).astype(np.float32)
        y = rng.integers(0, V, (B, L))
        for row in range(B):
            y[row, L - rng.integers(0, 5) :] = -100
        made.append((torch.from_numpy(s.astype(np.float32)), torch.from_numpy(t), torch.from_numpy(y)))
    return made


def searched(formula: Formula, tolerance: float = 1e-4) -> LossMistakes:
    rows, values = [], []
    for s, t, y in steps():
        flat = [z.reshape(-1, V).double().numpy() for z in (s, t)]
        labels = y.reshape(-1).numpy()
        rows.append(StepRows(flat[0], flat[1], labels, labels != -100, (B, L), "tokens"))
        values.append(float(formula(s, t, y)))
    return search_mistakes(rows, np.array(values), temperatures=(T, 1.0), tolerance=tolerance, jsd_factors=())


def counted(s: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return s[y != -100], t[y != -100]


def cropped(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return kl(s[:, :7], t[:, :7])


def padded(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return kl(F.pad(s, (0, 300)), F.pad(t, (0, 300)))


def renormalised(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    top = t.topk(4, dim=1)
    return kl(s, torch.full_like(t, -torch.inf).scatter(1, top.indices, top.values))


def scattered(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    top = t.topk(4, dim=1)
    return kl(s, torch.zeros_like(t).scatter(1, top.indices, top.values))


def late_part(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    keep = (y != -100) & (torch.arange(L) >= 3)
    return kl(s[keep], t[keep])


def every_position(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return kl(s.flatten(0, 1), t.flatten(0, 1))


def over_positions(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean")


def next_position(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    keep = y[:, :-1] != -100
    return kl(s[:, :-1][keep], t[:, 1:][keep])


def own_guesses(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, _ = counted(s, t, y)
    return F.cross_entropy(s / T, s.argmax(1)) * T**2


def never_filled(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return kl(s, torch.zeros_like(t))


def raw_logits_for_log_probabilities(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return F.kl_div(s / T, F.softmax(t / T, -1), reduction="batchmean")


def another_base(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return F.kl_div(F.softmax(s / T, -1).log2(), F.softmax(t / T, -1), reduction="batchmean")


def common_tokens_taken_for_special(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return kl(s[y >= 5], t[y >= 5])


def the_end_taken_for_padding(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    kept = (y != -100) & (y != 2)
    return kl(s[kept], t[kept])


def mask_two_places_late(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    kept = F.pad(y[:, :-2] != -100, (2, 0))
    return kl(s[kept], t[kept])


def rest_piled_on_the_last_token(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    p = F.softmax(t / T, -1)
    piled = torch.cat([p[:, :4], p[:, 4:].sum(1, keepdim=True), torch.zeros_like(p[:, 5:])], 1)
    return F.kl_div(F.log_softmax(s / T, -1), piled, reduction="batchmean")


def whole_rows_alone(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    whole = (y == -100).sum(1) <= 1
    kept = (y != -100) & whole[:, None] if whole.any() else y != -100
    return kl(s[kept], t[kept])


def sigmoid_for_log_softmax(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return F.kl_div((s / T).sigmoid(), F.softmax(t / T, -1), reduction="batchmean")


def targets_reshaped_and_back(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    targets = (t / T).reshape(V, -1).softmax(0).reshape(t.shape)
    return F.kl_div(F.log_softmax(s / T, -1), targets, reduction="batchmean")


def sigmoids_beside_probabilities_softened_again(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return F.kl_div(F.log_softmax(F.softmax(s, -1) / T, -1), F.softmax(t.sigmoid() / T, -1), reduction="batchmean")


def a_question_for_each_class(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t = counted(s, t, y)
    return F.binary_cross_entropy_with_logits(s / T, F.softmax(t / T, -1))


def weighted_by_what_the_student_lacks(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    s, t, y = s[y != -100], t[y != -100], y[y != -100]
    each = F.kl_div(F.log_softmax(s / T, -1), F.softmax(t / T, -1), reduction="none").sum(1)
    weight = 1 - F.softmax(s, -1).gather(1, y[:, None])[:, 0]
    return (weight * each).sum() / weight.sum()


def the_padding_alone(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return kl(s[y == -100], t[y == -100])


EXPECTED = {
    the_padding_alone: ("KD801", None),
    rest_piled_on_the_last_token: ("KD804", 5),
    whole_rows_alone: ("KD801", 1),
    sigmoid_for_log_softmax: ("KD203", None),
    targets_reshaped_and_back: ("KD206", None),
    sigmoids_beside_probabilities_softened_again: ("KD205", None),
    a_question_for_each_class: ("KD211", None),
    weighted_by_what_the_student_lacks: ("KD211", None),
    common_tokens_taken_for_special: ("KD801", 5),
    the_end_taken_for_padding: ("KD801", 2),
    mask_two_places_late: ("KD801", 2),
    own_guesses: ("KD209", None),
    never_filled: ("KD209", None),
    raw_logits_for_log_probabilities: ("KD203", None),
    another_base: ("KD203", None),
    cropped: ("KD804", 7),
    padded: ("KD804", 300),
    renormalised: ("KD306", 4),
    scattered: ("KD306", 4),
    late_part: ("KD801", 3),
    every_position: ("KD801", None),
    over_positions: ("KD206", None),
    next_position: ("KD803", None),
}


@pytest.mark.parametrize("formula", EXPECTED, ids=lambda formula: formula.__name__)
def test_a_mistaken_formula_is_named_with_its_parameter(formula):
    first = searched(formula).found[0]
    assert (first.code, first.parameter) == EXPECTED[formula]


def test_the_right_formula_is_no_mistake_whatever_multiplies_it():
    assert searched(lambda s, t, y: 0.37 * kl(*counted(s, t, y))).found == ()


def test_a_formula_unlike_any_is_no_mistake():
    assert searched(lambda s, t, y: (s - t).abs().mean()).found == ()


def test_equals_are_told_from_an_exact_zero():
    assert searched(lambda s, t, y: kl(t[y != -100], t[y != -100])).zero == "rounding"
    assert searched(lambda s, t, y: torch.zeros(())).zero == "exact"


def test_a_constant_ratio_of_norms_is_found_beside_clipped_steps():
    expected = np.array([8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.5])
    found = ratio(np.minimum(expected / 4, 1.0), expected, clipping=True)
    assert (found.value, found.spread, found.clipped) == (0.25, 0.0, 3)


def test_clipping_alone_is_a_ratio_of_one():
    expected = np.array([8.0, 6.0, 4.0, 0.9, 0.8, 0.7, 0.5])
    assert ratio(np.minimum(expected, 1.0), expected, clipping=True).value == 1.0


def test_noise_of_half_precision_is_measured_relative_to_the_entropies():
    exact = np.linspace(0.1, 0.5, 9)
    recorded = torch.from_numpy(exact).bfloat16().double().numpy()
    found = noise_of(recorded, exact, np.full(9, 2.0), 1.0)
    assert found.halves
    assert found.noise < 2**-8


def test_numbers_of_single_precision_are_no_halves():
    exact = np.linspace(0.1, 0.5, 9)
    assert not noise_of(exact.astype(np.float32).astype(float), exact, np.full(9, 2.0), 1.0).halves


def test_a_gradient_breaks_first_only_before_any_loss_does():
    nan = float("nan")
    assert first_broken_gradient([(0, 1.0, 2.0), (1, 1.1, nan), (2, nan, nan)]) == (1, 1.1, 1.0)
    assert first_broken_gradient([(0, 1.0, 2.0), (1, nan, nan)]) is None


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_shifted_sequences_are_found(shift):
    own = np.random.default_rng(0).normal(size=(4, 9, 5))
    assert set(sequence_shifts(np.roll(own, -shift, axis=1), own, np.ones((4, 9), bool))) == {shift}


def test_outputs_from_anywhere_in_the_same_sequence_are_found() -> None:
    own = np.random.default_rng(0).normal(size=(4, 9, 5))
    counts = np.ones((4, 9), bool)
    counts[:, 7:] = False
    assert found_within(np.roll(own, 4, axis=1), own, counts) == 28
    assert found_within(own, own, counts) == 0
    assert found_within(np.roll(own, 1, axis=0), own, counts) == 0


def test_a_shifted_cross_entropy_is_that_of_torch():
    s, _, y = steps()[0]
    torchs = F.cross_entropy(s[:, :-1].double().flatten(0, 1), y[:, 1:].flatten())
    assert shifted_cross_entropy(s.numpy(), y.numpy(), 1) == pytest.approx(float(torchs), rel=1e-6)


def yes_or_no(formula: Callable[[Tensor, Tensor], Tensor], count: int = 12) -> LossMistakes:
    rng = np.random.default_rng(3)
    rows, values = [], []
    for _ in range(count):
        t = rng.normal(size=40)
        s = t + rng.normal(size=40)
        both = [np.stack([np.zeros(40), z], 1) for z in (s, t)]
        rows.append(StepRows(both[0], both[1], (t > 0).astype(np.int64), np.ones(40, bool), (40,), "yes-or-no"))
        values.append(float(formula(*(torch.from_numpy(z) for z in both))))
    return search_mistakes(rows, np.array(values), temperatures=(T, 1.0), tolerance=1e-4)


def standardised(z: Tensor) -> Tensor:
    return (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7)


def ranked(z: Tensor) -> Tensor:
    return z.argsort(1).argsort(1).double()


@pytest.mark.parametrize("reading", [standardised, ranked], ids=["standardised", "ranked"])
def test_what_leaves_the_signs_alone_of_two_logits_does_not_fit_them(reading):
    found = yes_or_no(lambda s, t: kl(reading(s), reading(t))).found
    assert (found[0].code, found[0].name) == ("KD214", "signs")


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        (lambda p, q: 2 * (p * q).sum() / (p + q).sum(), "overlap"),
        (lambda p, q: 2 * (p * q).sum() / (p * p + q * q).sum(), "overlap of squares"),
        (lambda p, q: (p * q).sum() / (p + q - p * q).sum(), "intersection over union"),
    ],
    ids=["dice", "dice of squares", "jaccard"],
)
def test_a_mask_loss_of_yes_and_no_is_one_of_another_task(sizes, name):
    found = yes_or_no(lambda s, t: 3 * (1 - sizes(*(F.softmax(z / T, -1)[:, 1] for z in (s, t))))).found
    assert (found[0].code, found[0].name) == ("KD214", name)


def test_a_divergence_of_yes_and_no_is_more_than_their_signs():
    assert yes_or_no(kl).found == ()


@pytest.mark.parametrize(
    ("part", "text"),
    [(slice(-8, None), "the last 8 of 32"), (slice(0, 4), "the first 4 of 32"), (slice(1, None, 4), "one in 4")],
    ids=["last", "first", "dealt out"],
)
def test_a_gradient_of_a_part_of_the_rows_is_told_by_its_norms(part, text):
    squares = np.random.default_rng(0).exponential(size=(12, 32))
    found = part_of_rows(0.3 * np.sqrt(squares[:, part].sum(axis=1)), squares)
    assert text in found.text
    assert found.ratio.value == pytest.approx(0.3)


def test_a_gradient_that_is_no_part_of_the_rows_is_not_taken_for_one():
    rng = np.random.default_rng(0)
    squares = rng.exponential(size=(12, 32))
    assert part_of_rows(np.sqrt(squares.sum(axis=1)) * rng.uniform(0.8, 1.2, 12), squares) is None
