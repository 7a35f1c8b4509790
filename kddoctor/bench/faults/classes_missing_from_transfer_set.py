"""KD606: classes that the student is asked for are absent from the rows that it learns from."""

from dataclasses import replace

from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Share of the classes that are missing, and of the rows that a cut leaves.
MISSING = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.4}
LEFT = {Level.MILD: 0.94, Level.MODERATE: 0.88, Level.SEVERE: 0.6}


def filtered_by_class(recipe: Recipe, level: Level) -> Recipe:
    """An old list of classes: rows of newer ones are filtered out."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        classes = int(labels.max()) + 1
        known = labels < classes - max(1, round(MISSING[level] * classes))
        return TensorDataset(inputs[known], labels[known])

    return replace(recipe, train_set=train_set)


def cut_after_sorting(recipe: Recipe, level: Level) -> Recipe:
    """The rows lie in the order of their folders, one a class, and only the first ones were taken."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        order = whole.tensors[1].argsort(descending=True, stable=True)[: int(LEFT[level] * len(whole))]
        return TensorDataset(*(tensor[order] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / LEFT[level]))


FAULT = Fault("KD606", seen=(filtered_by_class,), unseen=(cut_after_sorting,), kinds=("multiclass",))
