"""Logit standardisation: teacher and student may have scales of their own."""

import torch
from torch import Tensor

from kddoctor.losses.divergences import kd


def standardised_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0, mask: Tensor | None = None
) -> Tensor:
    """KD of logits that were brought to mean 0 and standard deviation 1 in each row. Sun et al. 2024, algorithm 1.

    student_logits, teacher_logits: [..., C]. mask: [...]. The student then learns the order and relations of classes,
    and its logits need not grow as large as the teacher's.
    """
    return kd(_standardised(student_logits), _standardised(teacher_logits), temperature=temperature, mask=mask)


def _standardised(logits: Tensor) -> Tensor:
    centred = logits - logits.mean(-1, keepdim=True)
    return centred / centred.std(-1, keepdim=True, correction=0).clamp_min(torch.finfo(centred.dtype).eps)
