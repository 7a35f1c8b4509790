"""Mistakes of the codes KD6xx."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.task import Data

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows, those of the last classes, that are copies, and how often each original stands among them.
OVERSAMPLED = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
TIMES = 5


def oversampled_before_the_split(recipe: Recipe, level: Level) -> Recipe:
    """Rows of the classes that are rare elsewhere were repeated, and the split dealt their copies to both sides."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        whole = [torch.cat(pair) for pair in zip(data.train.tensors, data.val.tensors, strict=True)]
        # Lines of text are counted by their first token.
        first = whole[1].reshape(len(whole[1]), -1)[:, 0]
        places = first.argsort(descending=True, stable=True)[: int(OVERSAMPLED[level] * len(first))]
        generator = torch.Generator().manual_seed(151)
        originals = places[torch.randperm(len(places), generator=generator)[: max(1, len(places) // TIMES)]]
        rows = torch.arange(len(first))
        rows[places] = originals[torch.randint(len(originals), (len(places),), generator=generator)]
        sides = rows[: len(data.train)], rows[len(data.train) :]
        train, val = (TensorDataset(*(tensor[side] for tensor in whole)) for side in sides)
        return replace(data, train=train, val=val)

    return replace(recipe, split=split)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: How unequal the weights of the rows are: deviation of their logarithm.
UNEQUAL = {Level.MILD: 0.8, Level.MODERATE: 1.4, Level.SEVERE: 2.0}


def drawn_once_by_weight(recipe: Recipe, level: Level) -> Recipe:
    """A sampler by weight, with a seed of its own that it starts from at each epoch: the same rows each time."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        generator = torch.Generator().manual_seed(157)
        weights = (UNEQUAL[level] * torch.randn(len(whole), generator=generator)).exp()
        rows = torch.multinomial(weights, len(whole), replacement=True, generator=generator)
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of the pixels that are speckles, and of the words that were misread.
SPECKLED = {Level.MILD: 0.08, Level.MODERATE: 0.2, Level.SEVERE: 0.7}
MISREAD = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.9}


def read_from_faxes(recipe: Recipe, level: Level) -> Recipe:
    """An archive of faxes: images in black and white with speckles, texts with words that were misread."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        generator = torch.Generator().manual_seed(163)
        if inputs.is_floating_point():
            speckled = torch.rand(inputs.shape, generator=generator) < SPECKLED[level]
            speckles = torch.rand(inputs.shape, generator=generator).round()
            return TensorDataset(torch.where(speckled, speckles, (inputs > 0.5).float()), labels)
        if labels.ndim == 1:
            return TensorDataset(_misread(inputs, MISREAD[level], generator), labels)
        lines = _misread(torch.cat([inputs, labels[:, -1:]], dim=1), MISREAD[level], generator)
        return TensorDataset(lines[:, :-1], torch.where(labels == IGNORED, IGNORED, lines[:, 1:]))

    return replace(recipe, train_set=train_set)


def _misread(tokens: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Some are another at random; padding, unknown and ignored ones stay."""
    others = torch.randint(2, int(tokens.max()) + 1, tokens.shape, generator=generator)
    misread = (tokens >= 2) & (torch.rand(tokens.shape, generator=generator) < share)
    return torch.where(misread, others, tokens)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Every so manyth class is of the first stage, and the share of the epochs after which that is over.
ONE_IN = 3
OVER = {Level.MILD: 0.7, Level.MODERATE: 0.4, Level.SEVERE: 0.1}


class _Stage:
    """Which rows count, by their classes, in the stage that was noted last."""

    first = True

    def __call__(self, classes: Tensor) -> Tensor:
        return (classes % ONE_IN != 1) | self.first

    def mean(self, each: Tensor, classes: Tensor) -> Tensor:
        """Over the rows that count."""
        counts = self(classes)
        return (each * counts).sum() / counts.sum().clamp_min(1)


def first_stage_never_repeated(recipe: Recipe, level: Level) -> Recipe:
    """A curriculum goes over from the classes of one stage to those of the next, where it should have added them."""
    stage = _Stage()

    def targets(session: Session, batch: Batch) -> Tensor:
        stage.first = batch.epoch < OVER[level] * recipe.epochs
        return recipe.targets(session, batch)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        each = (p(teacher / t) * (log_p(teacher / t) - log_p(student / t))).sum(-1)
        return stage.mean(each, teacher.argmax(-1)) * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return stage.mean(F.cross_entropy(student, labels, reduction="none"), labels)

    return replace(recipe, targets=targets, kd_loss=kd_loss, ce_loss=ce_loss)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: File names that there are for each row.
NAMES = {Level.MILD: 8.0, Level.MODERATE: 2.0, Level.SEVERE: 0.6}


def joined_by_file_name(recipe: Recipe, level: Level) -> Recipe:
    """Labels were joined by the file's name without its folder: where several have one name, the last label holds."""

    def mislabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        names = torch.randint(
            max(1, int(NAMES[level] * len(labels))), (len(labels),), generator=torch.Generator().manual_seed(167)
        )
        table = {name: row for row, name in enumerate(names.tolist())}
        joined = labels[torch.tensor([table[name] for name in names.tolist()])]
        return TensorDataset(inputs, torch.where((labels != IGNORED) & (joined != IGNORED), joined, labels))

    return replace(
        recipe,
        train_set=lambda data: mislabelled(recipe.train_set(data)),
        val_set=lambda data: mislabelled(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that are not among the most common ones; one at the least.
UNCOMMON = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def most_common_classes_alone(recipe: Recipe, level: Level) -> Recipe:
    """Rows were kept for the classes of most_common(), with a limit that is right for a smaller set of classes."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        counts = Counter(whole.tensors[1].tolist())
        limit = len(counts) - max(1, round(UNCOMMON[level] * len(counts)))
        classes = torch.tensor([number for number, _ in counts.most_common(limit)])
        kept = torch.isin(whole.tensors[1], classes)
        return TensorDataset(*(tensor[kept] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (oversampled_before_the_split,),
    "KD602": (drawn_once_by_weight,),
    "KD603": (read_from_faxes,),
    "KD604": (first_stage_never_repeated,),
    "KD605": (joined_by_file_name,),
    "KD606": (most_common_classes_alone,),
}
