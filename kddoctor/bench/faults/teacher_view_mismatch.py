"""KD107: the teacher scores another view of an example than the one that the student sees."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

#: How far an image is moved at most, as a share of its side, and how many of them are; share of words dropped.
FARTHEST = 0.12
MOVED = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 1.0}
DROPPED = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.6}
#: Side of the hole cut into an image, and length of the hole in a text, as a share of it.
HOLE = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.45}


def cached_plain_view(recipe: Recipe, level: Level) -> Recipe:
    """The student's batches are moved (texts lose words) at random; the teacher's outputs were cached without."""

    def augment(inputs: Tensor) -> Tensor:
        seen = recipe.augment(inputs)
        return _moved(seen, MOVED[level]) if seen.is_floating_point() else _thinned(seen, DROPPED[level])

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    return replace(recipe, augment=augment, targets=targets)


def _moved(images: Tensor, share: float) -> Tensor:
    """This share of the images, each in a direction of its own; what leaves on one side is lost."""
    most = max(1, round(FARTHEST * images.shape[-1]))
    ways = (torch.randint(-most, most + 1, (len(images), 2)) * (torch.rand(len(images), 1) < share)).tolist()
    moved = torch.zeros_like(images)
    height, width = images.shape[-2:]
    for number, (down, right) in enumerate(ways):
        kept = images[number, ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
        top, left = max(0, down), max(0, right)
        moved[number, ..., top : top + kept.shape[-2], left : left + kept.shape[-1]] = kept
    return moved


def _thinned(words: Tensor, share: float) -> Tensor:
    return words.masked_fill(torch.rand(words.shape) < share, 0)


def holes_drawn_twice(recipe: Recipe, level: Level) -> Recipe:
    """Random erasing stands in the forward call of each model, so that each draws a hole of its own."""

    def answers(session: Session, batch: Batch) -> Tensor:
        return recipe.answers(session, replace(batch, inputs=_with_hole(batch.inputs, HOLE[level])))

    def targets(session: Session, batch: Batch) -> Tensor:
        return run_teacher(session, replace(batch, inputs=_with_hole(batch.inputs, HOLE[level])))

    return replace(recipe, answers=answers, targets=targets)


def _with_hole(inputs: Tensor, share: float) -> Tensor:
    """A hole at a random place, another in each row: a square in an image, a stretch of a text."""
    hidden = _stretch(len(inputs), inputs.shape[-1], share)
    if not inputs.is_floating_point():
        return inputs.masked_fill(hidden, 0)
    rows = _stretch(len(inputs), inputs.shape[-2], share)
    return inputs.masked_fill((rows[:, :, None] & hidden[:, None, :])[:, None], 0.0)


def _stretch(count: int, length: int, share: float) -> Tensor:
    """[count, length] true in one stretch of each row."""
    size = max(1, round(share * length))
    start = torch.randint(0, length - size + 1, (count, 1))
    at = torch.arange(length)
    return (at >= start) & (at < start + size)


# A row of a ranking task is a user and an item: there is no other view of it.
FAULT = Fault("KD107", seen=(cached_plain_view,), unseen=(holes_drawn_twice,), kinds=("multiclass", "tokens"))
