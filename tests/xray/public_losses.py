"""Sound losses of the kinds that public code bases use, each written from its paper's formulas."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

T = 4.0


def plain_kd(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Hinton et al. 2015."""
    soft = F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean") * T**2
    return 0.1 * F.cross_entropy(s, y) + 0.9 * soft


def unweighted_labels(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The label term whole, a weighted distillation term beside it."""
    return F.cross_entropy(s, y) + 0.9 * soft_targets(s, t.detach())


def soft_targets(s: Tensor, t: Tensor) -> Tensor:
    """The bare term."""
    return F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean") * T**2


def soft_cross_entropy(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy that takes probabilities."""
    return 0.1 * F.cross_entropy(s, y) + 0.9 * T**2 * F.cross_entropy(s / T, (t / T).softmax(1))


def smoothed_labels(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Label smoothing in the label term."""
    return 0.1 * F.cross_entropy(s, y, label_smoothing=0.1) + 0.9 * soft_targets(s, t)


def focal_labels(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Lin et al. 2017 on the labels."""
    ce = F.cross_entropy(s, y, reduction="none")
    return 0.1 * ((1 - (-ce).exp()) ** 2 * ce).mean() + 0.9 * soft_targets(s, t)


def both_summed(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Sums over the batch on both terms."""
    return 0.1 * F.cross_entropy(s, y, reduction="sum") + 0.9 * len(y) * soft_targets(s, t)


def decoupled(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """DKD, Zhao et al. 2022: cross-entropy + alpha TCKD + beta NCKD, both with T²."""
    own = F.one_hot(y, s.shape[1]).bool()
    p_s, p_t = (s / T).softmax(1), (t / T).softmax(1)
    b_s, b_t = (torch.stack([p[own], p[~own].view(len(y), -1).sum(1)], 1) for p in (p_s, p_t))
    target = F.kl_div(b_s.log(), b_t, reduction="batchmean")
    n_s, n_t = ((z / T - 1000.0 * own).log_softmax(1) for z in (s, t))
    non_target = F.kl_div(n_s, n_t, reduction="batchmean", log_target=True)
    return F.cross_entropy(s, y) + T**2 * (1.0 * target + 8.0 * non_target)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1).mean()


def dist(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """DIST, Huang et al. 2022: inter- and intra-class correlations."""
    p_s, p_t = (s / T).softmax(1), (t / T).softmax(1)
    return F.cross_entropy(s, y) + T**2 * (2 * (1 - _pearson(p_s, p_t)) + 2 * (1 - _pearson(p_s.T, p_t.T)))


def logit_mse(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Ba and Caruana 2014; Kim et al. 2021."""
    return 0.1 * F.cross_entropy(s, y) + 0.9 * F.mse_loss(s, t)


def logit_mse_summed_over_classes(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """The same, summed over classes."""
    return 0.1 * F.cross_entropy(s, y) + 0.9 * (s - t).pow(2).sum(1).mean()


def gkd(s: Tensor, t: Tensor) -> Tensor:
    """Generalised JSD, Agarwal et al. 2024, beta 0.5."""
    s, t = s.log_softmax(-1), t.log_softmax(-1)
    m = torch.logsumexp(torch.stack([s, t]), 0) - torch.tensor(2.0).log()
    return 0.5 * (F.kl_div(m, t, reduction="batchmean", log_target=True)
                  + F.kl_div(m, s, reduction="batchmean", log_target=True))  # fmt: skip


def gkd_quarter(s: Tensor, t: Tensor) -> Tensor:
    """Generalised JSD with beta 0.25."""
    p, q = t.softmax(-1), s.softmax(-1)
    m = 0.25 * p + 0.75 * q
    return (0.25 * (p * (p / m).log()).sum(-1) + 0.75 * (q * (q / m).log()).sum(-1)).mean()


def minillm(s: Tensor, t: Tensor) -> Tensor:
    """Reverse KL, Gu et al. 2024."""
    return F.kl_div(t.log_softmax(-1), s.softmax(-1), reduction="batchmean")


def distillm(s: Tensor, t: Tensor) -> Tensor:
    """Skew KL, Ko et al. 2024, lambda 0.1."""
    p = t.softmax(-1)
    return (p * (t.log_softmax(-1) - (0.1 * p + 0.9 * s.softmax(-1)).log())).sum(-1).mean()


def jeffreys(s: Tensor, t: Tensor) -> Tensor:
    """Both directions, half each."""
    return 0.5 * minillm(s, t) + 0.5 * minillm(t, s)


def standardised(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Logit standardisation, Sun et al. 2024."""
    s_z, t_z = ((z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True, correction=0) for z in (s, t))
    return (
        0.1 * F.cross_entropy(s, y)
        + 0.9 * F.kl_div((s_z / 2).log_softmax(1), (t_z / 2).softmax(1), reduction="batchmean") * 4.0
    )


def masked_tokens(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Token losses over the positions that count; [B, L, V] and [B, V] alike."""
    counts = y != -100
    return 0.1 * F.cross_entropy(s[counts], y[counts]) + 0.9 * soft_targets(s[counts], t[counts])


def shifted_tokens(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A causal language model: position i predicts label i+1."""
    if s.ndim == 2:
        return masked_tokens(s, t, y)
    return masked_tokens(s[:, :-1], t[:, :-1], y[:, 1:])


class HintWithProjector(nn.Module):
    """FitNets, Romero et al. 2015: squared error after a regressor of the student's features."""

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.projector = nn.Linear(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared error of projected features."""
        return F.mse_loss(self.projector(student), teacher)


class KDLoss(nn.Module):
    """Plain KD as a module."""

    def __init__(self, temperature: float, alpha: float) -> None:
        super().__init__()
        self.temperature, self.alpha = temperature, alpha
        self.divergence = nn.KLDivLoss(reduction="batchmean", log_target=True)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The weighted total."""
        t = self.temperature
        soft = self.divergence((student / t).log_softmax(-1), (teacher / t).log_softmax(-1)) * t * t
        return self.alpha * soft + (1 - self.alpha) * F.cross_entropy(student, labels)


def similarity_preserving(s: Tensor, t: Tensor) -> Tensor:
    """Tung and Mori 2019."""
    g_s, g_t = (F.normalize(z.flatten(1) @ z.flatten(1).T, dim=1) for z in (s, t))
    return (g_s - g_t).pow(2).sum() / len(s) ** 2


def attention_transfer(s: Tensor, t: Tensor) -> Tensor:
    """Zagoruyko and Komodakis 2017."""
    a_s, a_t = (F.normalize(z.pow(2).mean(1).flatten(1), dim=1) for z in (s, t))
    return 1000.0 * (a_s - a_t).pow(2).mean()


def hint_cosine(s: Tensor, t: Tensor) -> Tensor:
    """Cosine distance of hidden states, as DistilBERT's (Sanh et al. 2019)."""
    return F.cosine_embedding_loss(s, t, torch.ones(len(s)))
