"""KD601: rows that the student is judged on are among those that it learnt from."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.task import Data

#: Share of the validation rows that leak, and of them that are copies of training rows.
LEAKED = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.8}
#: Noise on an image that was augmented before the split.
JITTER = 0.02


def trained_on_everything(recipe: Recipe, level: Level) -> Recipe:
    """The training list was built from all files, and the validation list never taken out of it."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        leaked = int(LEAKED[level] * len(data.val))
        pairs = zip(data.train.tensors, data.val.tensors, strict=True)
        return replace(data, train=TensorDataset(*(torch.cat([train, val[:leaked]]) for train, val in pairs)))

    return replace(recipe, split=split)


def augmented_before_the_split(recipe: Recipe, level: Level) -> Recipe:
    """Rows were copied, images with some noise, and only then divided: some copies fell to the other side."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        generator = torch.Generator().manual_seed(17)
        places = torch.randperm(len(data.val), generator=generator)[: int(LEAKED[level] * len(data.val))]
        sources = torch.randint(len(data.train), (len(places),), generator=generator)
        inputs, labels = (tensor.clone() for tensor in data.val.tensors)
        inputs[places] = _augmented(data.train.tensors[0][sources], generator)
        labels[places] = data.train.tensors[1][sources]
        return replace(data, val=TensorDataset(inputs, labels))

    return replace(recipe, split=split)


def _augmented(inputs: Tensor, generator: torch.Generator) -> Tensor:
    if not inputs.is_floating_point():
        return inputs
    return inputs + JITTER * torch.randn(inputs.shape, generator=generator)


FAULT = Fault("KD601", seen=(trained_on_everything,), unseen=(augmented_before_the_split,))
