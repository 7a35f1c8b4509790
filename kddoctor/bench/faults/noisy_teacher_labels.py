"""KD304: the teacher is confidently wrong on a sizeable part of the rows."""

from dataclasses import replace

import torch
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Share of the teacher's rows whose labels are wrong.
ALIKE = {Level.MILD: 0.05, Level.MODERATE: 0.12, Level.SEVERE: 0.3}
ANYWHERE = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.5}
#: How many times the usual epochs it takes to know wrong labels by heart.
BY_HEART = 3


def one_annotator_off_by_one(recipe: Recipe, level: Level) -> Recipe:
    """The part of the teacher's rows with the largest inputs went to an annotator who counted classes from one."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        sizes = inputs.flatten(1).float().sum(1)
        wrong = sizes >= torch.quantile(sizes, 1 - ALIKE[level])
        return TensorDataset(inputs, torch.where(wrong, (labels + 1) % (int(labels.max()) + 1), labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def scraped_labels_by_heart(recipe: Recipe, level: Level) -> Recipe:
    """Labels scraped from the web are wrong at random, and the teacher was trained until it knew them by heart."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        generator = torch.Generator().manual_seed(len(labels))
        wrong = torch.rand(len(labels), generator=generator) < ANYWHERE[level]
        moved = torch.randint(1, int(labels.max()) + 1, labels.shape, generator=generator)
        return TensorDataset(inputs, torch.where(wrong, (labels + moved) % (int(labels.max()) + 1), labels))

    teacher = replace(recipe.teacher, data=relabelled, epochs=BY_HEART * recipe.teacher.epochs, weight_decay=0.0)
    return replace(recipe, teacher=teacher)


FAULT = Fault(
    "KD304", seen=(one_annotator_off_by_one,), unseen=(scraped_labels_by_heart,), kinds=("multiclass", "ranking")
)
