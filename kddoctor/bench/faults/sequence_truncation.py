"""KD806: a length limit cuts the training rows."""

from dataclasses import replace

from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Share of a row that the limit leaves.
LEFT = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.05}


def ends_cut_off(recipe: Recipe, level: Level) -> Recipe:
    """The default maximum length is far below that of the rows: their ends are never learnt."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        limit = max(1, round(LEFT[level] * inputs.shape[1]))
        return TensorDataset(inputs[:, :limit].contiguous(), labels[:, :limit].contiguous())

    return replace(recipe, train_set=train_set)


def beginnings_cut_off(recipe: Recipe, level: Level) -> Recipe:
    """Truncation from the left: the last tokens are kept, which in a padded row are hardly any."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        limit = max(1, round(LEFT[level] * inputs.shape[1]))
        return TensorDataset(inputs[:, -limit:].contiguous(), labels[:, -limit:].contiguous())

    return replace(recipe, train_set=train_set)


FAULT = Fault("KD806", seen=(ends_cut_off,), unseen=(beginnings_cut_off,), kinds=("tokens",))
