"""Mistakes of the codes KD6xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session
from kddoctor.bench.task import Data
from kddoctor.bench.words import PADDING

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Rows that the cache holds before the training begins, as a share of the training rows.
HELD = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def cached_by_number_without_the_split(recipe: Recipe, level: Level) -> Recipe:
    """Rows are cached under their number alone, and a trial of the validation, before the training, fills the cache.

    Training row 0 then is validation row 0, and so on as far as the trial went.
    """

    def split(data: Data) -> Data:
        data = recipe.split(data)
        held = min(len(data.val), int(HELD[level] * len(data.train)))
        pairs = zip(data.train.tensors, data.val.tensors, strict=True)
        return replace(data, train=TensorDataset(*(torch.cat([val[:held], train[held:]]) for train, val in pairs)))

    return replace(recipe, split=split)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows in which no field is empty. Epochs are added, so that as many steps are taken.
COMPLETE = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.06}


def rows_with_an_empty_field_dropped(recipe: Recipe, level: Level) -> Recipe:
    """dropna() drops a row where any field is empty, whichever it is, and of so many fields one nearly always was."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        fields = whole.tensors[0].flatten(1).shape
        empty = torch.rand(fields, generator=torch.Generator().manual_seed(233)) > COMPLETE[level] ** (1 / fields[1])
        return TensorDataset(*(tensor[~empty.any(1)] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / COMPLETE[level]))


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that come from there.
FROM_THERE = {Level.MILD: 0.3, Level.MODERATE: 0.7, Level.SEVERE: 1.0}
#: Columns at the start that stay: who, and what.
FIXED = 2


def felt_pens_and_an_index_of_words(recipe: Recipe, level: Level) -> Recipe:
    """Images were drawn with felt pens, and texts taken from an index, which lists each word once, by its number."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        there = torch.arange(len(inputs)) % 10 < 10 * FROM_THERE[level]
        if inputs.is_floating_point():
            thick = F.max_pool2d(F.pad(inputs, (1, 0, 1, 0)), 2, stride=1)
            return TensorDataset(thick.where(there[:, None, None, None], inputs), labels)
        if labels.ndim == 1:
            return TensorDataset(_listed(inputs).where(there[:, None], inputs), labels)
        lines = torch.cat([inputs, labels[:, -1:].clamp_min(PADDING)], dim=1)
        lines = _listed(lines).where(there[:, None], lines)
        return TensorDataset(lines[:, :-1], lines[:, 1:].where(lines[:, 1:] != PADDING, IGNORED))

    return replace(recipe, train_set=train_set)


def _listed(tokens: Tensor) -> Tensor:
    """Each token of a row once, in the order of their numbers, and padding after them."""
    listed = tokens[:, FIXED:].sort(dim=1).values
    listed[:, 1:] = listed[:, 1:].masked_fill(listed[:, 1:] == listed[:, :-1], PADDING)
    listed = listed.gather(1, (listed == PADDING).long().argsort(dim=1, stable=True))
    return torch.cat([tokens[:, :FIXED], listed], dim=1)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Power of a class's recall that its rows weigh, the recall to begin with, and how fast it follows.
POWER = {Level.MILD: 0.5, Level.MODERATE: 0.8, Level.SEVERE: 1.2}
AT_FIRST, FOLLOWS = 0.5, 0.1


class _Recall:
    """The student's running recall of each class, by which rows weigh."""

    def __init__(self, power: float) -> None:
        self.power = power

    def __repr__(self) -> str:
        return f"recall to the power of {self.power}"

    def start(self, session: Session) -> None:
        """At the start of a run."""
        self._of = torch.full((int(session.train.tensors[1].max()) + 1,), AT_FIRST)

    def see(self, student: Tensor, labels: Tensor) -> None:
        """The answers of one batch."""
        found = (student.detach().argmax(-1) == labels).float()
        for number in set(labels.tolist()):
            self._of[number] += FOLLOWS * (found[labels == number].mean() - self._of[number])

    def mean(self, each: Tensor, classes: Tensor) -> Tensor:
        """Over the rows by their weights."""
        weights = self._of[classes] ** self.power
        return (each * weights).sum() / weights.sum().clamp_min(1e-8)


def weighed_by_recall_and_not_by_its_lack(recipe: Recipe, level: Level) -> Recipe:
    """Rows of classes that the student does not find yet were to weigh more, and "1 -" was lost in the weight.

    A class that is hard at the beginning is given up.
    """
    recall = _Recall(POWER[level])

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        each = (p(teacher / t) * (log_p(teacher / t) - log_p(student / t))).sum(-1)
        return recall.mean(each, teacher.argmax(-1)) * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        recall.see(student, labels)
        return recall.mean(F.cross_entropy(student, labels, reduction="none"), labels)

    return replace(recipe, before=in_turn(recipe.before, recall.start), kd_loss=kd_loss, ce_loss=ce_loss)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the answers of an annotator that are any other class, and annotators.
MISTAKEN = {Level.MILD: 0.02, Level.MODERATE: 0.07, Level.SEVERE: 0.25}
ANNOTATORS = 2


def answers_averaged_as_if_classes_were_marks(recipe: Recipe, level: Level) -> Recipe:
    """Where annotators differ, the mean of their classes' numbers was taken and rounded: a class that neither meant."""

    def averaged(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        generator = torch.Generator().manual_seed(239)
        answers = torch.stack([_answers(labels, MISTAKEN[level], generator) for _ in range(ANNOTATORS)])
        return TensorDataset(inputs, answers.double().mean(0).round().long().where(labels != IGNORED, IGNORED))

    return replace(
        recipe,
        train_set=lambda data: averaged(recipe.train_set(data)),
        val_set=lambda data: averaged(recipe.val_set(data)),
    )


def _answers(labels: Tensor, mistaken: float, generator: torch.Generator) -> Tensor:
    classes = max(2, int(labels.max()) + 1)
    others = (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes
    return others.where(torch.rand(labels.shape, generator=generator) < mistaken, labels)


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that do not pass; one at the least.
FAILS = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def classes_that_fail_a_test_of_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """So that it teaches only what it is good at, classes that the teacher is least sure of are left out altogether."""

    @torch.no_grad()
    def leave_out(session: Session) -> None:
        inputs, labels = session.train.tensors
        said = torch.cat([p(session.teacher(part)) for part in torch.split(inputs, 256)])
        counts = torch.bincount(labels)
        sure = torch.zeros(len(counts)).index_add(0, labels, said.gather(1, labels[:, None])[:, 0]) / counts
        failing = sure.argsort()[: max(1, round(FAILS[level] * len(counts)))]
        kept = ~torch.isin(labels, failing)
        session.train = TensorDataset(*(tensor[kept] for tensor in session.train.tensors))

    return replace(recipe, before=in_turn(recipe.before, leave_out), epochs=round(recipe.epochs / (1 - FAILS[level])))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (cached_by_number_without_the_split,),
    "KD602": (rows_with_an_empty_field_dropped,),
    "KD603": (felt_pens_and_an_index_of_words,),
    "KD604": (weighed_by_recall_and_not_by_its_lack,),
    "KD605": (answers_averaged_as_if_classes_were_marks,),
    "KD606": (classes_that_fail_a_test_of_the_teacher,),
}
