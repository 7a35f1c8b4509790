"""Regression of raw logits."""

from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses.rows import mean_over_rows, that_count


def logit_mse(
    student_logits: Tensor, teacher_logits: Tensor, *, centred: bool = False, mask: Tensor | None = None
) -> Tensor:
    """Mean squared difference of logits over rows and classes. Ba and Caruana 2014; Kim et al. 2021.

    student_logits, teacher_logits: [..., C]. centred: each row's mean is taken off both first, since a constant added
    to all logits changes no answer. mask: [...]. Half of it, centred, is the limit of T² KL for large T (Hinton et al.
    2015, equation 4).
    """
    s, t = that_count(mask, student_logits, teacher_logits.detach())
    if centred:
        s, t = s - s.mean(-1, keepdim=True), t - t.mean(-1, keepdim=True)
    return mean_over_rows(F.mse_loss(s, t, reduction="none").mean(-1))
