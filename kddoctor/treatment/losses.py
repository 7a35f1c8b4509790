"""The distillation losses that a treatment can retrain with."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses import (
    confidence_weights,
    correctness_weights,
    decoupled_kd,
    dist,
    jsd_kd,
    logit_mse,
    reverse_kd,
    standardised_kd,
)
from kddoctor.losses import kd as forward_kd
from kddoctor.treatment.loop_settings import Divergence, Rows

#: By the name that a manifest gives them; each carries its T².
DIVERGENCES: Mapping[str, Callable[..., Tensor]] = {"kl": forward_kd, "reverse-kl": reverse_kd, "jsd": jsd_kd}


class LossTerms(NamedTuple):
    """total = (1 − alpha) · ce + alpha · kd; kd carries its T²."""

    total: Tensor
    kd: Tensor
    ce: Tensor


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    loss: str = "kl",
    temperature: float = 1.0,
    alpha: float = 0.9,
    temperature_squared: bool = True,
    task: str = "multiclass",
    divergence: Divergence = "declared",
    rows: Rows = "all",
) -> LossTerms:
    """The declared loss, properly computed, or another of the pharmacy.

    student_logits, teacher_logits: [B, C] (binary, ranking [B]; multilabel [B, C]; tokens [B, L, V]). labels: [B]
    (multilabel like the logits; tokens [B, L], -100 ignored). kl: T² KL(teacher ‖ student) at T, mean over rows
    (Hinton et al. 2015); reverse-kl: the arguments exchanged; jsd: half of both towards their mean (Agarwal et al.
    2024); mse: mean squared difference of logits (Ba and Caruana 2014). divergence: a form of kddoctor.losses in the
    place of the declared one. rows: whose targets count, by the teacher's answers. Raises ValueError for another loss.
    """
    s, t, y, hard = _rows(student_logits, teacher_logits, labels, task)
    ce = F.cross_entropy(s, y) if hard is None else hard
    kd = _term(s, t, y, loss, temperature, divergence, _weights(t, y, rows, hard is None))
    if not temperature_squared and loss != "mse":
        kd = kd / temperature**2
    return LossTerms((1 - alpha) * ce + alpha * kd, kd, ce)


def hard_label_loss(student_logits: Tensor, labels: Tensor, *, task: str = "multiclass") -> Tensor:
    """The hard-label term alone: what is left of the loss at alpha 0. Shapes as in ``distillation_loss``."""
    s, _, y, hard = _rows(student_logits, student_logits.detach(), labels, task)
    return F.cross_entropy(s, y) if hard is None else hard


def _rows(s: Tensor, t: Tensor, y: Tensor, task: str) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Rows of class logits; for yes-or-no tasks [0, z], whose softmax is the sigmoid, with their own hard term."""
    if task in ("binary", "ranking", "multilabel"):
        flat_s, flat_t, flat_y = s.reshape(-1), t.reshape(-1), y.reshape(-1)
        hard = F.binary_cross_entropy_with_logits(flat_s, flat_y.to(flat_s.dtype))
        zero = torch.zeros_like(flat_s)
        return torch.stack([zero, flat_s], 1), torch.stack([zero, flat_t], 1), flat_y, hard
    s, t, y = s.reshape(-1, s.shape[-1]), t.reshape(-1, t.shape[-1]), y.reshape(-1)
    if task == "tokens":
        counts = y != -100
        s, t, y = s[counts], t[counts], y[counts]
    return s, t, y, None


def _weights(t: Tensor, y: Tensor, rows: Rows, classes: bool) -> Tensor | None:
    """[B]; the logits of yes-or-no tasks come as [0, z], whose column 1 is yes, so that both kinds look alike here."""
    if rows == "all":
        return None
    labels = y if classes else y.round().long()
    return correctness_weights(t, labels) if rows == "teacher right" else confidence_weights(t, labels)


def _term(
    s: Tensor, t: Tensor, y: Tensor, loss: str, temperature: float, divergence: Divergence, weights: Tensor | None
) -> Tensor:
    if divergence == "decoupled":
        if s.shape[1] < 3:
            raise ValueError("the decoupled divergence needs three classes or more")
        return decoupled_kd(s, t, y, temperature=temperature)
    if divergence == "correlation":
        return dist(s, t, temperature=temperature)
    if divergence == "standardised":
        return standardised_kd(s, t, temperature=temperature)
    if loss == "mse":
        return logit_mse(s, t)
    if loss not in DIVERGENCES:
        raise ValueError(f"cannot distil with the loss {loss!r}; known: {', '.join(DIVERGENCES)}, mse")
    return DIVERGENCES[loss](s, t, temperature=temperature, weights=weights)
