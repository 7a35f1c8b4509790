"""Formulas of distillation terms, written from the papers; each is a mean over rows unless it says otherwise.

They take a batch and return scalars; what multiplies them is fitted.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.loss_xray.batches import Batch


def _log_p(logits: Tensor, t: float, dim: int = -1) -> Tensor:
    return F.log_softmax(logits / t, dim)


def _kl(of: Tensor, to: Tensor) -> Tensor:
    """KL between rows of log-probabilities."""
    return (of.exp() * (of - to)).sum(-1).mean()


def kl(batch: Batch, teacher_t: float, student_t: float) -> Tensor:
    """KL(teacher ‖ student). Hinton et al. 2015, section 2."""
    return _kl(_log_p(batch.teacher, teacher_t), _log_p(batch.student, student_t))


def reverse_kl(batch: Batch, teacher_t: float, student_t: float) -> Tensor:
    """KL(student ‖ teacher). Gu et al. 2024 (MiniLLM), section 2."""
    return _kl(_log_p(batch.student, student_t), _log_p(batch.teacher, teacher_t))


def soft_cross_entropy(batch: Batch, teacher_t: float, student_t: float) -> Tensor:
    """−Σ p_teacher log p_student."""
    return -(_log_p(batch.teacher, teacher_t).exp() * _log_p(batch.student, student_t)).sum(-1).mean()


def _mixture(a: Tensor, b: Tensor, share: float) -> Tensor:
    """log(share·exp(a) + (1−share)·exp(b))."""
    logs = torch.tensor([share, 1 - share], dtype=a.dtype).log()
    return torch.logaddexp(a + logs[0], b + logs[1])


def jsd(batch: Batch, t: float, beta: float) -> Tensor:
    """β KL(T ‖ M) + (1−β) KL(S ‖ M), M = β T + (1−β) S. Agarwal et al. 2024 (GKD), equation 1."""
    teacher, student = _log_p(batch.teacher, t), _log_p(batch.student, t)
    middle = _mixture(teacher, student, beta)
    return beta * _kl(teacher, middle) + (1 - beta) * _kl(student, middle)


def skew_kl(batch: Batch, t: float, share: float) -> Tensor:
    """KL(T ‖ λ T + (1−λ) S). Ko et al. 2024 (DistiLLM), section 3.1."""
    teacher, student = _log_p(batch.teacher, t), _log_p(batch.student, t)
    return _kl(teacher, _mixture(teacher, student, share))


def skew_reverse_kl(batch: Batch, t: float, share: float) -> Tensor:
    """KL(S ‖ λ S + (1−λ) T). Ko et al. 2024 (DistiLLM), section 3.1."""
    teacher, student = _log_p(batch.teacher, t), _log_p(batch.student, t)
    return _kl(student, _mixture(student, teacher, share))


def target_class_kd(batch: Batch, t: float) -> Tensor:
    """KL between (target, all others) of both sides. Zhao et al. 2022 (DKD), equation 5."""
    return _kl(_binary(batch.teacher, batch.labels, t), _binary(batch.student, batch.labels, t))


def _binary(logits: Tensor, labels: Tensor, t: float) -> Tensor:
    log_p = _log_p(logits, t)
    target = log_p.gather(1, labels[:, None])
    return torch.cat([target, _without_target(log_p, labels).logsumexp(1, keepdim=True)], 1)


def _without_target(values: Tensor, labels: Tensor) -> Tensor:
    keep = ~F.one_hot(labels, values.shape[1]).bool()
    return values[keep].reshape(len(values), -1)


def non_target_class_kd(batch: Batch, t: float) -> Tensor:
    """KL over all classes but the target. Zhao et al. 2022 (DKD), equation 6."""
    teacher, student = (_without_target(logits, batch.labels) for logits in (batch.teacher, batch.student))
    return _kl(_log_p(teacher, t), _log_p(student, t))


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """1 − mean correlation of rows."""
    return 1 - F.cosine_similarity(a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True), dim=-1, eps=1e-12).mean()


def inter_class(batch: Batch, t: float) -> Tensor:
    """1 − correlation over the classes of a row. Huang et al. 2022 (DIST), equation 7."""
    return _pearson(_log_p(batch.teacher, t).exp(), _log_p(batch.student, t).exp())


def intra_class(batch: Batch, t: float) -> Tensor:
    """1 − correlation over the rows of a class. Huang et al. 2022 (DIST), equation 9."""
    return _pearson(_log_p(batch.teacher, t).exp().T, _log_p(batch.student, t).exp().T)


def targets_over_batch(batch: Batch, t: float) -> Tensor:
    """A mistake: the teacher's softmax runs over the batch, the student's over the classes."""
    teacher = _log_p(batch.teacher, t, 0)
    return (teacher.exp() * (teacher - _log_p(batch.student, t))).sum(-1).mean()


def student_over_batch(batch: Batch, t: float) -> Tensor:
    """A mistake: the student's softmax runs over the batch, the teacher's over the classes."""
    teacher = _log_p(batch.teacher, t)
    return (teacher.exp() * (teacher - _log_p(batch.student, t, 0))).sum(-1).mean()


def _alike(batch: Batch) -> tuple[Tensor, Tensor]:
    """Both sides. Raises ValueError where they would have to be broadcast."""
    if batch.student.shape != batch.teacher.shape:
        raise ValueError("elements of different shapes cannot be paired")
    return batch.student, batch.teacher


def squared_error(batch: Batch) -> Tensor:
    """Mean over all elements. Romero et al. 2015 (FitNets), equation 3; Ba and Caruana 2014, equation 1."""
    return F.mse_loss(*_alike(batch))


def absolute_error(batch: Batch) -> Tensor:
    """Mean over all elements."""
    return F.l1_loss(*_alike(batch))


def smooth_absolute_error(batch: Batch) -> Tensor:
    """Mean over all elements."""
    return F.smooth_l1_loss(*_alike(batch))


def cosine(batch: Batch) -> Tensor:
    """1 − cosine over each flattened row."""
    return 1 - F.cosine_similarity(batch.student.flatten(1), batch.teacher.flatten(1), dim=1).mean()


def cosine_over_channels(batch: Batch) -> Tensor:
    """1 − cosine over the last axis."""
    return 1 - F.cosine_similarity(batch.student, batch.teacher, dim=-1).mean()


def normalised_squared_error(batch: Batch) -> Tensor:
    """Squared distance of rows at unit length."""
    student, teacher = (F.normalize(side.flatten(1), dim=1) for side in (batch.student, batch.teacher))
    return (student - teacher).pow(2).sum(1).mean()


def attention_transfer(batch: Batch) -> Tensor:
    """Squared distance of attention maps [B, H·W]. Zagoruyko and Komodakis 2017, equation 2."""
    student, teacher = (F.normalize(side.pow(2).mean(1).flatten(1), dim=1) for side in (batch.student, batch.teacher))
    return (student - teacher).pow(2).mean()


def similarity_preserving(batch: Batch) -> Tensor:
    """Squared distance of row-normalised Gram matrices, over B². Tung and Mori 2019, equation 4."""
    student, teacher = (
        F.normalize(side.flatten(1) @ side.flatten(1).T, dim=1) for side in (batch.student, batch.teacher)
    )
    return (student - teacher).pow(2).mean()


def relational_distance(batch: Batch) -> Tensor:
    """Huber distance of pairwise distances over their mean. Park et al. 2019 (RKD), equation 6."""
    student, teacher = (_distances(side.flatten(1)) for side in (batch.student, batch.teacher))
    return F.smooth_l1_loss(student, teacher)


def _distances(rows: Tensor) -> Tensor:
    found = (rows[:, None] - rows[None]).pow(2).sum(-1).clamp_min(1e-12).sqrt()
    found = found * (1 - torch.eye(len(rows), dtype=rows.dtype))
    return found / found[found > 0].mean()


def relational_angle(batch: Batch) -> Tensor:
    """Huber distance of angles of triples. Park et al. 2019 (RKD), equation 9."""
    student, teacher = (_angles(side.flatten(1)) for side in (batch.student, batch.teacher))
    return F.smooth_l1_loss(student, teacher)


def _angles(rows: Tensor) -> Tensor:
    towards = F.normalize(rows[None] - rows[:, None], dim=2)
    return towards @ towards.transpose(1, 2)
