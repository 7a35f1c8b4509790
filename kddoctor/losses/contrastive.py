"""Contrastive distillation: a student's answer should pick out its own example's among the teacher's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ContrastiveDistillation(nn.Module):
    """InfoNCE between student and teacher embeddings of one batch, both ways. Tian et al. 2020, in the in-batch form.

    The paper draws its negatives from a memory of the whole data set; here they are the rest of the batch (van den Oord
    et al. 2018), which needs no state and no row numbers. log(batch) − loss is a lower bound of the
    information that the two share. Both projectors are trained; give them to the student's optimizer.
    """

    def __init__(self, student_width: int, teacher_width: int, *, width: int = 128, temperature: float = 0.1) -> None:
        """Widths of the two layers, and of the space in which they are compared."""
        super().__init__()
        self.student_projector = nn.Linear(student_width, width)
        self.teacher_projector = nn.Linear(teacher_width, width)
        self.temperature = temperature

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """[B, D] and [B, D'] of the same rows, B at least 2."""
        ours = F.normalize(self.student_projector(student_features.flatten(1)))
        theirs = F.normalize(self.teacher_projector(teacher_features.detach().flatten(1)))
        return in_batch_contrast(ours, theirs, temperature=self.temperature)


def in_batch_contrast(ours: Tensor, theirs: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of finding the partner among the batch, mean of both ways. ours, theirs: [B, D], of length 1."""
    scores = ours @ theirs.T / temperature
    partner = torch.arange(len(scores), device=scores.device)
    return 0.5 * (F.cross_entropy(scores, partner) + F.cross_entropy(scores.T, partner))
