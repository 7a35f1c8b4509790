"""KD210: a generalised Jensen-Shannon divergence whose weight makes it vanish."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe

#: Weight of the teacher in the mixture. At 0 and at 1 the divergence is 0, where people expect a plain KL.
BETA = {Level.MILD: 0.05, Level.MODERATE: 0.02, Level.SEVERE: 1e-4}


def _jsd(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """beta KL(T ‖ M) + (1 - beta) KL(S ‖ M) with M = beta T + (1 - beta) S, mean over rows."""
    mixture = (beta * p(teacher) + (1 - beta) * p(student)).log()
    of_teacher = F.kl_div(mixture, log_p(teacher), reduction="batchmean", log_target=True)
    of_student = F.kl_div(mixture, log_p(student), reduction="batchmean", log_target=True)
    return beta * of_teacher + (1 - beta) * of_student


def beta_near_zero(recipe: Recipe, level: Level) -> Recipe:
    """beta close to 0, to get what is almost the forward divergence."""
    beta = BETA[level]

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return _jsd(student / t, teacher / t, beta) * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


def weights_on_the_wrong_sides(recipe: Recipe, level: Level) -> Recipe:
    """A mixture that is nearly the teacher, and nearly all weight on the teacher's distance to it."""
    share = 1 - BETA[level]

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        mixture = torch.logsumexp(torch.stack([answers + _log(1 - share), targets + _log(share)]), dim=0)
        of_teacher = (targets.exp() * (targets - mixture)).sum(1).mean()
        of_student = (answers.exp() * (answers - mixture)).sum(1).mean()
        return t**2 * (share * of_teacher + (1 - share) * of_student)

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


def _log(value: float) -> float:
    return float(torch.tensor(value).log())


FAULT = Fault("KD210", seen=(beta_near_zero,), unseen=(weights_on_the_wrong_sides,))
