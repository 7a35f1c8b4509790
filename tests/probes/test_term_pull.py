"""Students that were trained to rest on a known mixture of terms, and what their pulls say of it."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.probes.term_pull import Family, TermPull, TermPullProbe

N, C, T, ALPHA = 600, 5, 3.0, 0.7


def task(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features [N, 8], teacher logits [N, C] that no linear student reaches, labels [N]."""
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(N, 8, generator=random, dtype=torch.float64)
    teacher = torch.tanh(inputs @ torch.randn(8, 32, generator=random, dtype=torch.float64)) @ torch.randn(
        32, C, generator=random, dtype=torch.float64
    )
    labels = torch.multinomial(teacher.softmax(1), 1, generator=random)[:, 0]
    return inputs, teacher, labels


def soft(family: str, s: Tensor, t: Tensor) -> Tensor:
    log_q, log_p = F.log_softmax(s / T, 1), F.log_softmax(t / T, 1)
    if family == "mse":
        return F.mse_loss(s, t)
    if family == "reverse-kl":
        log_q, log_p = log_p, log_q
    return T**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def at_rest(family: str, weight: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a linear student that was trained to rest on weight x soft + (1 - ALPHA) x labels."""
    inputs, teacher, labels = task(seed)
    layer = torch.nn.Linear(8, C).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        s = layer(inputs)
        loss = weight * soft(family, s, teacher) + (1 - ALPHA) * F.cross_entropy(s, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    torch.manual_seed(seed)
    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return layer(inputs).detach(), teacher, labels


def pull(family: Family, s: Tensor, t: Tensor, y: Tensor, parts: int = 1) -> TermPull:
    whole = TermPullProbe(family, T, ALPHA, C, squared=True)
    for rows in np.array_split(np.arange(len(y)), parts):
        part = TermPullProbe(family, T, ALPHA, C, squared=True)
        part.update(s.numpy()[rows], t.numpy()[rows], y.numpy()[rows])
        whole.merge(part)
    found = whole.compute()
    assert found is not None
    return found


@pytest.mark.parametrize("family", ["kl", "reverse-kl", "mse"])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_weight_that_was_followed_is_read_off_a_student_at_rest(family: Family, share: float) -> None:
    found = pull(family, *at_rest(family, share * ALPHA))
    assert found.followed == pytest.approx(share, rel=0.02)
    assert found.cosine == pytest.approx(-1, abs=0.01)


def test_a_term_that_was_never_followed_pulls_on_while_the_other_is_at_rest() -> None:
    found = pull("kl", *at_rest("kl", 0.0))
    assert found.hard < 1e-3
    assert found.soft > 0.05
    assert abs(found.followed or 0.0) < 0.01


def test_a_student_on_its_way_is_at_rest_with_neither() -> None:
    inputs, teacher, labels = task(1)
    found = pull("kl", inputs[:, :C] * 0.1, teacher, labels)
    assert min(found.hard, found.soft) > 0.1


def test_chunks_add_up() -> None:
    s, t, y = at_rest("kl", ALPHA)
    whole, parts = pull("kl", s, t, y), pull("kl", s, t, y, parts=3)
    assert parts.cosine == pytest.approx(whole.cosine)
    assert parts.hard == pytest.approx(whole.hard)
    assert parts.n == whole.n == N


def test_nothing_is_said_without_rows_or_where_a_term_has_no_gradient() -> None:
    assert TermPullProbe("kl", T, ALPHA, C, squared=True).compute() is None
    same = np.ones((4, C))
    probe = TermPullProbe("kl", T, ALPHA, C, squared=True)
    probe.update(same, same, np.zeros(4, np.int64))
    assert probe.compute() is None
