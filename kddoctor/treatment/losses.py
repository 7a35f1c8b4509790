"""The distillation losses that a treatment can retrain with."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses import jsd_kd, logit_mse, reverse_kd
from kddoctor.losses import kd as forward_kd

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
) -> LossTerms:
    """The declared loss, properly computed.

    student_logits, teacher_logits: [B, C] (binary, ranking [B]; multilabel [B, C]; tokens [B, L, V]). labels: [B]
    (multilabel like the logits; tokens [B, L], -100 ignored). kl: T² KL(teacher ‖ student) at T, mean over rows
    (Hinton et al. 2015); reverse-kl: the arguments exchanged; jsd: half of both towards their mean (Agarwal et al.
    2024); mse: mean squared difference of logits (Ba and Caruana 2014). Raises ValueError for any other loss.
    """
    s, t, y, hard = _rows(student_logits, teacher_logits, labels, task)
    ce = F.cross_entropy(s, y) if hard is None else hard
    kd = _divergence(s, t, loss, temperature)
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


def _divergence(s: Tensor, t: Tensor, loss: str, temperature: float) -> Tensor:
    if loss == "mse":
        return logit_mse(s, t)
    if loss not in DIVERGENCES:
        raise ValueError(f"cannot distil with the loss {loss!r}; known: {', '.join(DIVERGENCES)}, mse")
    return DIVERGENCES[loss](s, t, temperature=temperature)
