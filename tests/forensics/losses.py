"""Distillation losses as people write them in PyTorch, in float32: the reference that forensics has to recognise.

Every factory returns a function (student_logits, teacher_logits, labels) -> scalar tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "batchmean": lambda x: x.sum() / len(x),
    "mean": lambda x: x.mean(),
    "sum": lambda x: x.sum(),
}
SCALES: dict[str, Callable[[float], float]] = {
    "1": lambda t: 1.0,
    "T": lambda t: t,
    "T²": lambda t: t**2,
    "2T²": lambda t: 2 * t**2,
    "T⁴": lambda t: t**4,
    "1/T²": lambda t: t**-2,
}


def _kl(s: Tensor, t: Tensor, beta: float) -> Tensor:
    return F.kl_div(F.log_softmax(s, -1), F.softmax(t, -1), reduction="none")


def _jsd(s: Tensor, t: Tensor, beta: float) -> Tensor:
    p, q = F.softmax(t, -1), F.softmax(s, -1)
    m = (beta * p + (1 - beta) * q).log()
    return beta * F.kl_div(m, p, reduction="none") + (1 - beta) * F.kl_div(m, q, reduction="none")


FAMILIES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl": _kl,
    "reverse-kl": lambda s, t, _: F.kl_div(F.log_softmax(t, -1), F.softmax(s, -1), reduction="none"),
    "soft-cross-entropy": lambda s, t, _: -F.softmax(t, -1) * F.log_softmax(s, -1),
    "kl-input-not-log": lambda s, t, _: F.kl_div(F.softmax(s, -1), F.softmax(t, -1), reduction="none"),
    "reverse-kl-input-not-log": lambda s, t, _: F.kl_div(F.softmax(t, -1), F.softmax(s, -1), reduction="none"),
    "reverse-cross-entropy": lambda s, t, _: -F.softmax(s, -1) * F.log_softmax(t, -1),
    "kl-target-not-log": lambda s, t, _: F.kl_div(
        F.log_softmax(s, -1), F.softmax(t, -1), reduction="none", log_target=True
    ),
    "jsd": _jsd,
    "mse": lambda s, t, _: F.mse_loss(s, t, reduction="none"),
    "mse-probabilities": lambda s, t, _: F.mse_loss(F.softmax(s, -1), F.softmax(t, -1), reduction="none"),
}


def same(z: Tensor) -> Tensor:
    """No transform."""
    return z


def softmax(z: Tensor) -> Tensor:
    """A softmax too many, when the loss takes another."""
    return F.softmax(z, -1)


def softmax_over_the_batch(z: Tensor) -> Tensor:
    """For use with ``kl_of_probabilities``."""
    return F.softmax(z, 0)


def standardised(z: Tensor) -> Tensor:
    """Z-score of each row."""
    return (z - z.mean(-1, keepdim=True)) / z.std(-1, keepdim=True, correction=0)


def divergence(
    family: str = "kl",
    temperature: float = 4.0,
    *,
    reduction: str = "batchmean",
    scale: str = "T²",
    teacher_temperature: float | None = None,
    student_temperature: float | None = None,
    teacher: Callable[[Tensor], Tensor] = same,
    student: Callable[[Tensor], Tensor] = same,
    beta: float = 0.5,
    times: float = 1.0,
) -> Loss:
    """Any family at any temperature, reduced and scaled in any of the ways that loops are found to use."""

    def loss(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        a = student(s) / (student_temperature or temperature)
        b = teacher(t) / (teacher_temperature or temperature)
        return times * SCALES[scale](temperature) * REDUCTIONS[reduction](FAMILIES[family](a, b, beta))

    return loss


def kl(temperature: float = 4.0, **how: object) -> Loss:
    """Hinton's term, T² included."""
    return divergence("kl", temperature, **how)  # type: ignore[arg-type]


def hard(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the teacher's top class."""
    return F.cross_entropy(s, t.argmax(-1))


def kl_over_the_batch(temperature: float = 4.0) -> Loss:
    """The softmax is taken along axis 0."""

    def loss(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        log_q, p = F.log_softmax(s / temperature, 0), F.softmax(t / temperature, 0)
        return temperature**2 * F.kl_div(log_q, p, reduction="batchmean")

    return loss


def targets_over_the_batch(temperature: float = 4.0) -> Loss:
    """The teacher's softmax alone is taken along axis 0."""

    def loss(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        log_q, p = F.log_softmax(s / temperature, -1), F.softmax(t / temperature, 0)
        return temperature**2 * F.kl_div(log_q, p, reduction="batchmean")

    return loss


def rows_cut_across_classes(temperature: float = 4.0) -> Loss:
    """Classes first, and then view(-1, C)."""

    def loss(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        cut = [z.T.contiguous().view(-1, z.shape[1]) for z in (s, t)]
        return kl(temperature)(cut[0], cut[1], labels)

    return loss


def of_logged_probabilities(temperature: float = 4.0) -> Loss:
    """The teacher is recorded as probabilities, and the loop takes their logarithm: that is right."""

    def loss(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return kl(temperature)(s, t.log(), labels)

    return loss


def unlike_any(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """No form of the grammar: the largest difference of a row, squashed."""
    return torch.tanh((s - t).abs().amax(-1)).mean()


def binary_soft(temperature: float, scale: str = "T²") -> Loss:
    """BCE with the teacher's probability as the target, a mean over everything."""

    def loss(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        target = torch.sigmoid(t / temperature)
        return SCALES[scale](temperature) * F.binary_cross_entropy_with_logits(s / temperature, target)

    return loss


def cross_entropy(s: Tensor, labels: Tensor) -> Tensor:
    """The hard-label term."""
    return F.cross_entropy(s, labels)


def smoothed(amount: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy with label smoothing."""
    return lambda s, labels: F.cross_entropy(s, labels, label_smoothing=amount)


def of_probabilities(s: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of a model that already ends in a softmax."""
    return F.cross_entropy(F.softmax(s, -1), labels)


def tenth_of_cross_entropy(s: Tensor, y: Tensor) -> Tensor:
    """The labels' term with its weight."""
    return 0.1 * F.cross_entropy(s, y)


def softened_again(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The targets are softened, taken for logits and softened once more."""
    targets = F.softmax(F.softmax(t / 4, -1) / 4, -1)
    return 16 * F.kl_div(F.log_softmax(s / 4, -1), targets, reduction="batchmean")


def of_no_rows(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A threshold that no row passes."""
    return 0.0 * kl()(s, t, y)


def sigmoid_not_logged(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A sigmoid of each logit in the place of log-probabilities."""
    return 16 * F.kl_div(torch.sigmoid(s / 4), F.softmax(t / 4, -1), reduction="batchmean")


def targets_reshaped(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Classes are brought first, and back, by reshape."""
    targets = (t / 4).reshape(t.shape[1], -1).softmax(0).reshape(t.shape)
    return 16 * F.kl_div(F.log_softmax(s / 4, -1), targets, reduction="batchmean")


def shares_drawn(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A Jensen-Shannon divergence whose share is another one for each batch, and mostly at an end."""
    drawn = torch.Generator().manual_seed(int(1e6 * s.abs().mean()))
    share = torch.rand((), generator=drawn) ** 12
    p, q = F.softmax(t / 4, -1), F.softmax(s / 4, -1)
    m = (share * p + (1 - share) * q).log()
    return 16 * (share * (p * (p.log() - m)).sum(1) + (1 - share) * (q * (q.log() - m)).sum(1)).mean()


def over_chunks_of_rows(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Five rows at a time, and the softmax over these."""
    pairs = zip(s.split(5), t.split(5), strict=True)
    sums = [F.kl_div(F.log_softmax(a / 4, 0), F.softmax(b / 4, 0), reduction="sum") for a, b in pairs]
    return 16 * torch.stack(sums).sum() / len(s)


def over_everything(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """One softmax over all rows and classes."""
    return 16 * F.kl_div(F.log_softmax(s.flatten() / 4, 0), F.softmax(t.flatten() / 4, 0), reduction="sum")


def made_up_targets(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A teacher that is made from the labels: 0.8 for the right class, the same little for all others."""
    targets = torch.full_like(s, 0.2 / (s.shape[1] - 1)).scatter(1, y[:, None], 0.8)
    return 16 * F.kl_div(F.log_softmax(s / 4, -1), targets, reduction="batchmean")


def regressed_on_labels(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Logits against seven times the one-hot labels."""
    return F.mse_loss(s, 7 * F.one_hot(y, s.shape[1]).to(s.dtype))


def shares_by_row(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A Jensen-Shannon divergence whose share of the student is another one, and small, for each row."""
    share = (1 - 0.04 * (1 - F.softmax(t, -1).amax(1)))[:, None]
    p, q = F.softmax(t / 4, -1), F.softmax(s / 4, -1)
    m = (share * p + (1 - share) * q).log()
    of_teacher, of_student = (p * (p.log() - m)).sum(1), (q * (q.log() - m)).sum(1)
    return 16 * (share[:, 0] * of_teacher + (1 - share[:, 0]) * of_student).mean()


def both_directions(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The divergence and its reverse."""
    return kl()(s, t, y) + divergence("reverse-kl")(s, t, y)


def weighted_by_certainty(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Each row's divergence counts by the teacher's largest probability."""
    each = F.kl_div(F.log_softmax(s / 4, -1), F.softmax(t / 4, -1), reduction="none").sum(1)
    return 16 * (F.softmax(t, -1).amax(1) * each).mean()
