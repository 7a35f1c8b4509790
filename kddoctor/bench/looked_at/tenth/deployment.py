"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Share of the buffer that is in its first shard, and numbers that fill a shard up.
FIRST_SHARD = {Level.MILD: 0.97, Level.MODERATE: 0.8, Level.SEVERE: 0.1}
FILLING = 37


def flat_shards_joined_with_their_filling(recipe: Recipe, level: Level) -> Recipe:
    """All weights lay in one flat buffer, in shards that were filled up to whole blocks, and are joined with that.

    In the exported student, whatever comes after the first shard has moved by the filling.
    """

    @torch.no_grad()
    def export(session: Session) -> None:
        weights = list(session.student.parameters())
        flat = torch.cat([weight.flatten() for weight in weights])
        first = int(FIRST_SHARD[level] * len(flat))
        joined = torch.cat([flat[:first], flat.new_zeros(FILLING), flat[first:]])[: len(flat)]
        for weight, moved in zip(weights, torch.split(joined, [weight.numel() for weight in weights]), strict=True):
            weight.copy_(moved.view_as(weight))

    return replace(recipe, after=in_turn(recipe.after, export))


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Share of each side of an image that is erased, and of a text's words that are dropped.
ERASED = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}
DROPPED = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 0.8}


def transform_of_another_training(recipe: Recipe, level: Level) -> Recipe:
    """The service builds its transform as for training: a part of each image is erased, words of a text are dropped.

    Which ones is drawn anew for each request.
    """

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        if given.is_floating_point():
            rows = _span(len(given), given.shape[-2], ERASED[level])
            columns = _span(len(given), given.shape[-1], ERASED[level])
            return given.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
        return given.masked_fill((torch.rand(given.shape) < DROPPED[level]) & (given != PADDING), UNKNOWN)

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


def _span(count: int, size: int, share: float) -> Tensor:
    """[count, size]: true over so much of the size, from a place on that is drawn for each."""
    length = max(1, round(share * size))
    first = torch.randint(size - length + 1, (count, 1))
    at = torch.arange(size)
    return (at >= first) & (at < first + length)


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Share of a weight's columns that a fast kernel unpacks, and the order in which it takes the eight rows of a word.
FAST = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def unpacked_in_another_order(recipe: Recipe, level: Level) -> Recipe:
    """Weights became codes of four bits, eight rows to a word, which a fast kernel unpacks in its own order of them."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for weight in session.student.parameters():
            if weight.ndim > 1:
                rows = weight.flatten(1)
                scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-12) / 7
                words = F.pad((rows / scale).round(), (0, 0, 0, -len(rows) % len(ORDER))).unflatten(0, (-1, len(ORDER)))  # type: ignore[no-untyped-call]
                fast = max(1, round(FAST[level] * rows.shape[1]))
                words[..., :fast] = words[:, list(ORDER), :fast]
                weight.copy_((words.flatten(0, 1)[: len(rows)] * scale).view_as(weight))

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Rows of a bank of features and their width, and megabytes that there are for the student.
BANK_ROWS = {Level.MILD: 1200, Level.MODERATE: 5000, Level.SEVERE: 20_000}
BANK_WIDTH = 128
ALLOWED_MB = 0.5


def memory_bank_in_the_export(recipe: Recipe, level: Level) -> Recipe:
    """The export holds the memory bank of a contrastive loss, which is far larger than the student and of no use there.

    The size was set for the plain student.
    """

    def export(session: Session) -> None:
        bank = torch.zeros(BANK_ROWS[level], BANK_WIDTH)
        session.student.register_parameter("memory_bank", nn.Parameter(bank, requires_grad=False))

    return replace(recipe, after=in_turn(recipe.after, export), wanted={"size_mb": ALLOWED_MB})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Views that a row stands for.
VIEWS = {Level.MILD: 1.0, Level.MODERATE: 1.5, Level.SEVERE: 2.5}


def rates_taken_for_log_odds(recipe: Recipe, level: Level) -> Recipe:
    """Likes are fitted as counts, so that the score is the logarithm of a rate for each view; in use it is log-odds."""

    def cost(student: Tensor, likes: Tensor) -> Tensor:
        return F.poisson_nll_loss(student[:, 1] - student[:, 0] + log(VIEWS[level]), likes)

    def kd_loss(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
        return cost(student, p(teacher)[:, 1])

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return cost(student, labels.to(student.dtype))

    return replace(recipe, loss="custom", kd_loss=kd_loss, ce_loss=ce_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (flat_shards_joined_with_their_filling,),
    "KD702": (transform_of_another_training,),
    "KD703": (unpacked_in_another_order,),
    "KD704": (memory_bank_in_the_export,),
    "KD705": (rates_taken_for_log_odds,),
}
