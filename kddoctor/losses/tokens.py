"""Distillation of language models, token by token, on given texts and on the student's own."""

import torch
from torch import Tensor

from kddoctor.losses.divergences import jsd_kd, kd

IGNORED = -100


def token_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    ignore_index: int = IGNORED,
) -> Tensor:
    """KD over the positions that count, all of equal weight. Kim and Rush 2016.

    student_logits, teacher_logits: [B, L, V], both for the token that ``labels`` [B, L] holds at the same position:
    shift before, and shift both alike. Positions with ``ignore_index`` (padding, prompt) do not count.
    """
    return kd(student_logits, teacher_logits, temperature=temperature, mask=labels != ignore_index)


def generalised_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    ignore_index: int = IGNORED,
) -> Tensor:
    """The divergence of GKD on texts that may be the student's own. Agarwal et al. 2024.

    Arguments as for :func:`token_kd`; beta as for :func:`kddoctor.losses.jsd_kd`. Where the student wrote the text,
    labels are the tokens that it sampled, and nothing flows back through the sampling.
    """
    return jsd_kd(student_logits, teacher_logits, beta=beta, temperature=temperature, mask=labels != ignore_index)


def texts_to_learn_from(
    given: Tensor, sampled: Tensor, *, own_share: float, generator: torch.Generator | None = None
) -> Tensor:
    """Each row from the student's own texts with probability ``own_share``, else as it was given. GKD, algorithm 1.

    given, sampled: [B, L] tokens of the same prompts, padded alike. Raises ValueError for other shapes.
    """
    if given.shape != sampled.shape:
        raise ValueError(f"texts are {list(given.shape)} and {list(sampled.shape)}; expected one shape: pad them alike")
    own = torch.rand(len(given), 1, generator=generator) < own_share
    return torch.where(own, sampled, given)
