"""KD303: the teacher was trained on smoothed labels, which erased what it knew about the other classes."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED

#: Share of a label that is spread over all classes.
SMOOTHED = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.6}


def label_smoothing(recipe: Recipe, level: Level) -> Recipe:
    """A strong recipe for the teacher's own accuracy."""
    return replace(recipe, teacher=replace(recipe.teacher, label_smoothing=SMOOTHED[level]))


def one_against_the_rest(recipe: Recipe, level: Level) -> Recipe:
    """The teacher answers yes or no for each class, on smoothed answers: it says the same no to all the others."""
    smoothed = SMOOTHED[level]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        kept = labels != IGNORED
        truth = F.one_hot(labels[kept], logits.shape[1]).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(
            logits[kept], truth * (1 - smoothed) + smoothed / logits.shape[1], reduction="sum"
        ) / max(1, int(kept.sum()))

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


def mixed_labels(recipe: Recipe, level: Level) -> Recipe:
    """Each label of the teacher's batch is blended with that of another row, as mixup does, and the inputs are not."""
    smoothed = SMOOTHED[level]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        others = labels[torch.randperm(len(labels))]
        return (1 - smoothed) * F.cross_entropy(logits, labels) + smoothed * F.cross_entropy(logits, others)

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# Two classes leave no others to be told apart.
FAULT = Fault(
    "KD303",
    seen=(label_smoothing,),
    unseen=(one_against_the_rest, mixed_labels),
    kinds=("multiclass", "tokens"),
)
