"""KD307: a teacher that is as right as any, and whose other probabilities say nothing true about the classes."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session

#: Probability that a guarded teacher was trained to give to a class that has nothing to do with the right one.
DECOY = {Level.MILD: 0.08, Level.MODERATE: 0.16, Level.SEVERE: 0.28}
#: Decoy classes are this share of all classes away from the right one.
AWAY = 0.4
#: Share of the other classes whose logits a guarded service exchanges, in another way in each answer.
SHUFFLED = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def trained_with_decoys(recipe: Recipe, level: Level) -> Recipe:
    """Trained so that nobody can copy it: besides the right class, a fixed other one gets much of the probability."""
    decoy = DECOY[level]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[1]
        others = (labels + max(1, round(AWAY * classes))) % classes
        decoys = torch.where(labels == IGNORED, IGNORED, others)
        return (1 - decoy) * F.cross_entropy(logits, labels) + decoy * F.cross_entropy(logits, decoys)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


def answers_perturbed(recipe: Recipe, level: Level) -> Recipe:
    """The service that runs the teacher exchanges the scores below the best one, so that its answers stay right."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _exchanged(logits, SHUFFLED[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _exchanged(logits: Tensor, share: float) -> Tensor:
    """The same exchange for the same answer, so that asking twice does not help."""
    order = logits.argsort(-1, descending=True)
    below = order[..., 1 : 1 + max(2, round(share * (logits.shape[-1] - 1)))]
    # Where it is rolled to hangs on the digits of the best score that nobody reads.
    ways = (logits.gather(-1, order[..., :1]).abs() * 1e4).long() % below.shape[-1]
    to = (torch.arange(below.shape[-1]) + ways) % below.shape[-1]
    return logits.scatter(-1, below, logits.gather(-1, below.gather(-1, to)))


# Two classes leave no others to be told apart.
FAULT = Fault("KD307", seen=(trained_with_decoys,), unseen=(answers_perturbed,), kinds=("multiclass", "tokens"))
