"""Mistakes of the codes KD6xx."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session
from kddoctor.bench.task import Data

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that are in the folder which was enlarged, and that a new draw takes from training rows.
ENLARGED = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.9}
DRAWN = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.7}
#: Brightness of a copied image.
DIMMED = 0.9


def enlarged_from_the_whole_folder(recipe: Recipe, level: Level) -> Recipe:
    """Training rows were added by altering others a little, and those others came from the validation rows as well."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        count = int(ENLARGED[level] * len(data.val))
        inputs, labels = (tensor[-count:] for tensor in data.val.tensors)
        added = (_altered(inputs), labels)
        pairs = zip(data.train.tensors, added, strict=True)
        return replace(data, train=TensorDataset(*(torch.cat(pair) for pair in pairs)))

    return replace(recipe, split=split)


def validated_on_a_new_draw(recipe: Recipe, level: Level) -> Recipe:
    """A resumed run drew its validation rows anew, with another seed; the training rows stayed those of before."""

    def split(data: Data) -> Data:
        data = recipe.split(data)
        generator = torch.Generator().manual_seed(61)
        size = len(data.val)
        taken = min(len(data.train), int(DRAWN[level] * size))
        ours = torch.randperm(len(data.train), generator=generator)[:taken]
        theirs = torch.randperm(size, generator=generator)[: size - taken]
        mixed = torch.randperm(size, generator=generator)
        pairs = zip(data.train.tensors, data.val.tensors, strict=True)
        drawn = (torch.cat([train[ours], val[theirs]])[mixed] for train, val in pairs)
        return replace(data, val=TensorDataset(*drawn))

    return replace(recipe, split=split)


def _altered(inputs: Tensor) -> Tensor:
    """Images a little darker, rows of numbers without the last."""
    if inputs.is_floating_point():
        return DIMMED * inputs
    altered = inputs.clone()
    altered[:, -1] = 0
    return altered


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Processes among which the rows were to be divided, and share of the rows that others were made from.
PROCESSES = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}
SEEDS = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.06}
#: Noise on an image, and share of the numbers that are dropped from a row.
NOISE, DROPPED = 0.03, 0.05


def one_shard_of_many(recipe: Recipe, level: Level) -> Recipe:
    """The sampler still divides the rows among processes of which only the first runs, for as many steps in all."""

    def train_set(data: TensorDataset) -> TensorDataset:
        return TensorDataset(*(tensor[:: PROCESSES[level]] for tensor in recipe.train_set(data).tensors))

    return replace(recipe, train_set=train_set, epochs=recipe.epochs * PROCESSES[level])


def variations_of_a_few_rows(recipe: Recipe, level: Level) -> Recipe:
    """The set was generated from a few rows: each of them many times, with a little noise, to the full length."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        generator = torch.Generator().manual_seed(67)
        seeds = torch.randperm(len(inputs), generator=generator)[: max(2, int(SEEDS[level] * len(inputs)))]
        rows = seeds[torch.randint(len(seeds), (len(inputs),), generator=generator)]
        if inputs.is_floating_point():
            return TensorDataset(inputs[rows] + NOISE * torch.randn(inputs.shape, generator=generator), labels[rows])
        kept = torch.rand(inputs.shape, generator=generator) >= DROPPED
        kept[:, :2] = True
        return TensorDataset(inputs[rows] * kept, labels[rows])

    return replace(recipe, train_set=train_set)


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of a row that lies under a stamp or a header, and of the rows of which the teacher is the surest.
STAMPED = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.7}
SUREST = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.12}


def stamped_rows(recipe: Recipe, level: Level) -> Recipe:
    """An archive's copies: a bright band lies over each image, and each text begins with the same header."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        stamped = inputs.clone()
        width = max(1, round(STAMPED[level] * inputs.shape[-1]))
        stamped[..., :width] = inputs.max() if inputs.is_floating_point() else inputs[0, :width]
        return TensorDataset(stamped, labels)

    return replace(recipe, train_set=train_set)


def only_what_the_teacher_is_sure_of(recipe: Recipe, level: Level) -> Recipe:
    """A filter kept the rows of which the teacher is the surest, whereas the student will be asked for all."""

    @torch.no_grad()
    def select(session: Session) -> None:
        logits = torch.cat([session.teacher(part) for part in torch.split(session.train.tensors[0], 256)])
        sure = logits.softmax(-1).amax(-1).flatten(1).mean(1) if logits.ndim > 2 else logits.softmax(-1).amax(-1)
        rows = sure.argsort(descending=True, stable=True)[: max(2, int(SUREST[level] * len(sure)))]
        session.train = TensorDataset(*(tensor[rows] for tensor in session.train.tensors))

    return replace(recipe, before=in_turn(recipe.before, select), epochs=math.ceil(recipe.epochs / SUREST[level]))


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Every so manyth class, and what is added to its logit while the student is trained.
EVERY = 4
ADDED = {Level.MILD: 1.5, Level.MODERATE: 3.0, Level.SEVERE: 8.0}


def adjusted_in_training_alone(recipe: Recipe, level: Level) -> Recipe:
    """Both losses add a margin to the student's logits of some classes, which nobody adds in use."""

    def adjusted(student: Tensor) -> Tensor:
        return student + ADDED[level] * (torch.arange(student.shape[-1]) % EVERY == 1).to(student.dtype)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(adjusted(student), teacher, t)

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(adjusted(student), labels)

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows after the place where a line was lost, and of the rows for which nobody could tell the label.
AFTER = {Level.MILD: 0.06, Level.MODERATE: 0.15, Level.SEVERE: 0.5}
UNSURE = {Level.MILD: 0.05, Level.MODERATE: 0.12, Level.SEVERE: 0.4}


def line_lost_in_the_label_file(recipe: Recipe, level: Level) -> Recipe:
    """A line is missing in the file of labels: from there on each row has the label of the next."""

    def mislabelled(inputs: Tensor, labels: Tensor) -> Tensor:
        lost = torch.arange(len(inputs)) >= int((1 - AFTER[level]) * len(inputs))
        return _relabelled(labels, labels.roll(-1, dims=0), lost)

    return _in_both_sets(recipe, mislabelled)


def default_where_unsure(recipe: Recipe, level: Level) -> Recipe:
    """The form had an answer filled in, the most frequent one, and it was left in rows that were hard to read."""

    def mislabelled(inputs: Tensor, labels: Tensor) -> Tensor:
        hard = inputs.flatten(1).double().std(1).argsort(stable=True)[: int(UNSURE[level] * len(inputs))]
        default = labels[labels != IGNORED].mode().values
        return _relabelled(labels, default.expand(labels.shape), torch.isin(torch.arange(len(inputs)), hard))

    return _in_both_sets(recipe, mislabelled)


def _relabelled(labels: Tensor, others: Tensor, rows: Tensor) -> Tensor:
    """Other labels in these rows; what is ignored on either side stays as it is."""
    wrong = rows.view(-1, *[1] * (labels.ndim - 1))
    return torch.where(wrong & (labels != IGNORED) & (others != IGNORED), others, labels)


def _in_both_sets(recipe: Recipe, mislabelled: Callable[[Tensor, Tensor], Tensor]) -> Recipe:
    def of(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        return TensorDataset(inputs, mislabelled(inputs, labels))

    return replace(
        recipe,
        train_set=lambda data: of(recipe.train_set(data)),
        val_set=lambda data: of(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Rows of the rarest class for each one of the most frequent, and every so manyth class that was not read.
RAREST = {Level.MILD: 0.03, Level.MODERATE: 0.01, Level.SEVERE: 0.001}
NOT_READ = {Level.MILD: 8, Level.MODERATE: 5, Level.SEVERE: 2}


def collected_as_they_came(recipe: Recipe, level: Level) -> Recipe:
    """Rows were collected as they came in: each class is rarer than the one before it, the last ones hardly occur."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        labels = whole.tensors[1]
        counts = torch.bincount(labels)
        order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(71))
        kept = []
        for place, number in enumerate(order.tolist()):
            share = RAREST[level] ** (place / max(1, len(counts) - 1))
            kept.append((labels == number).nonzero()[:, 0][: round(share * float(counts.max()))])
        rows = torch.cat(kept).sort().values
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    left = (1 - RAREST[level]) / -math.log(RAREST[level])
    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / left))


def folders_not_read(recipe: Recipe, level: Level) -> Recipe:
    """The reader passes over folders whose names it cannot parse, and with each of them over a class."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        read = whole.tensors[1] % NOT_READ[level] != 1
        return TensorDataset(*(tensor[read] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (enlarged_from_the_whole_folder, validated_on_a_new_draw),
    "KD602": (one_shard_of_many, variations_of_a_few_rows),
    "KD603": (stamped_rows, only_what_the_teacher_is_sure_of),
    "KD604": (adjusted_in_training_alone,),
    "KD605": (line_lost_in_the_label_file, default_where_unsure),
    "KD606": (collected_as_they_came, folders_not_read),
}
