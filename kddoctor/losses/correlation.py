"""DIST: match the correlation of predictions, not their values."""

from torch import Tensor
from torch.nn import functional as F

from kddoctor.losses.rows import log_probabilities


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    row_weight: float = 1.0,
    class_weight: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """T² (w_row (1 − ρ of rows) + w_class (1 − ρ of columns)), ρ Pearson's correlation. Huang et al. 2022.

    student_logits, teacher_logits: [B, C], B and C at least 2. Rows: how one example's classes relate. Columns: how one
    class's examples do. For a strong teacher that a small student cannot match exactly.
    """
    s = log_probabilities(student_logits, temperature).exp()
    t = log_probabilities(teacher_logits.detach(), temperature).exp()
    rows, columns = 1 - _pearson(s, t).mean(), 1 - _pearson(s.T, t.T).mean()
    return temperature**2 * (row_weight * rows + class_weight * columns)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Of each row; 0 where one side is constant."""
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1)
