"""The sound losses that healthy loops use; rows are [n, C] logits."""

from torch import Tensor
from torch.nn import functional as F


def log_p(logits: Tensor) -> Tensor:
    """Log-probabilities over classes."""
    return F.log_softmax(logits, dim=-1)


def p(logits: Tensor) -> Tensor:
    """Probabilities over classes."""
    return F.softmax(logits, dim=-1)


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher ‖ student), mean over rows. Source: Hinton et al. 2015, arXiv:1503.02531, section 2."""
    t = temperature
    return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean") * t * t


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² times the cross-entropy with soft targets: the same gradient as ``kl``."""
    t = temperature
    return -(p(teacher / t) * log_p(student / t)).sum(-1).mean() * t * t


def reverse_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(student ‖ teacher), mean over rows."""
    return kl(teacher, student, temperature)


def mse(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
    """Mean squared error of the logits. Source: Kim et al. 2021, arXiv:2105.08919."""
    return F.mse_loss(student, teacher)


def cross_entropy(student: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels, mean over rows."""
    return F.cross_entropy(student, labels)


def weighted(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
    """The total of the contract: alpha on the distillation term."""
    return alpha * kd + (1 - alpha) * ce
