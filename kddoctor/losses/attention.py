"""Attention transfer: where a layer looks, whatever its channels mean."""

from torch import Tensor
from torch.nn import functional as F


def attention_transfer(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Squared distance of attention maps, mean over rows. Zagoruyko and Komodakis 2017, equation 2, squared.

    student_features [B, C, H, W] and teacher_features [B, C', H', W']: maps of one stage of either network. A map is
    the mean of squares over channels, brought to length 1; maps of another size are average-pooled to the smaller.
    """
    ours, theirs = student_features.square().mean(1, keepdim=True), teacher_features.detach().square().mean(1, True)
    if ours.shape != theirs.shape:
        size = (min(ours.shape[2], theirs.shape[2]), min(ours.shape[3], theirs.shape[3]))
        ours, theirs = F.adaptive_avg_pool2d(ours, size), F.adaptive_avg_pool2d(theirs, size)
    difference = F.normalize(ours.flatten(1)) - F.normalize(theirs.flatten(1))
    return difference.square().sum(1).mean()
