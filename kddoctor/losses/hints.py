"""Intermediate supervision: layers of the student imitate layers of the teacher."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class Hint(nn.Module):
    """Mean squared difference of a student layer, through a trained projector, to a teacher layer. Romero et al. 2015.

    The projector is a 1x1 convolution for maps [B, C, H, W], a linear layer otherwise, and there is always one: equal
    widths do not mean equal features. Maps of another size are average-pooled to the smaller. Give its parameters to
    the student's optimizer.
    """

    def __init__(self, student_shape: Sequence[int], teacher_shape: Sequence[int], *, normalised: bool = True) -> None:
        """Shapes of one batch of either layer, the batch's size included: [B, C, H, W], [B, L, D] or [B, D].

        normalised: the teacher's features are divided by their root mean square, so that the term has the size of one
        whatever the layer. Raises ValueError for layers of different kinds.
        """
        super().__init__()
        if len(student_shape) != len(teacher_shape):
            raise ValueError(f"layers of shapes {list(student_shape)} and {list(teacher_shape)} cannot be compared")
        axis = 1 if len(student_shape) > 3 else -1
        ours, theirs = student_shape[axis], teacher_shape[axis]
        self.projector = nn.Conv2d(ours, theirs, 1) if axis == 1 else nn.Linear(ours, theirs)
        self.normalised = normalised

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """Activations of the same batch; the teacher's get no gradient."""
        ours, theirs = self.projector(student_features), teacher_features.detach()
        if ours.dim() > 3 and ours.shape[2:] != theirs.shape[2:]:
            size = (min(ours.shape[2], theirs.shape[2]), min(ours.shape[3], theirs.shape[3]))
            ours, theirs = F.adaptive_avg_pool2d(ours, size), F.adaptive_avg_pool2d(theirs, size)
        loss = F.mse_loss(ours, theirs)
        return loss / theirs.square().mean().clamp_min(1e-12) if self.normalised else loss
