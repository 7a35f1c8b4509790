"""KD105: the teacher's class i is another class than label i."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

#: Share of the classes that are out of place; two at the least.
SHARE = {Level.MILD: 0.05, Level.MODERATE: 0.4, Level.SEVERE: 0.8}


def sorted_as_text(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's classes are numbered from 1 and sorted as text: 1, 10, 2, 3, …"""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if logits.ndim == 1:
            return -logits
        classes = logits.shape[-1]
        return logits[..., sorted(range(classes), key=lambda number: str(number + 1))]

    return replace(recipe, targets=targets)


def order_of_appearance(recipe: Recipe, _level: Level) -> Recipe:
    """The label map was derived from the data: a class gets its number where it first appears."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if logits.ndim == 1:
            return -logits
        order = dict.fromkeys([*session.train.tensors[1].tolist(), *range(logits.shape[-1])])
        return logits[:, list(order)]

    return replace(recipe, targets=targets)


def names_exchanged(recipe: Recipe, level: Level) -> Recipe:
    """The list of names was typed by hand for the student's data set, some neighbours in the wrong order."""
    return replace(
        recipe,
        train_set=_renumbered(recipe.train_set, SHARE[level]),
        val_set=_renumbered(recipe.val_set, SHARE[level]),
    )


def _renumbered(
    read: Callable[[TensorDataset], TensorDataset], share: float
) -> Callable[[TensorDataset], TensorDataset]:
    def renumber(data: TensorDataset) -> TensorDataset:
        inputs, labels = read(data).tensors
        classes = int(labels.max()) + 1
        pairs = max(1, round(share * classes / 2))
        typed = torch.arange(classes)
        typed[: 2 * pairs] = typed[: 2 * pairs].reshape(pairs, 2).flip(1).flatten()
        return TensorDataset(inputs, typed[labels])

    return renumber


# Tokens would need another tokenizer for a mistake like this, which is another fault.
FAULT = Fault(
    "KD105",
    seen=(sorted_as_text,),
    unseen=(order_of_appearance, names_exchanged),
    kinds=("multiclass", "ranking"),
)
