"""Mistakes of the codes KD6xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that were reviewed, those that the teacher gets most wrong first.
REVIEWED = {Level.MILD: 0.08, Level.MODERATE: 0.3, Level.SEVERE: 0.8}


def hard_ones_added_after_a_review(recipe: Recipe, level: Level) -> Recipe:
    """After a review of errors on the validation rows, the hardest of these were added to the training rows."""

    @torch.no_grad()
    def add(session: Session) -> None:
        inputs, labels = session.val.tensors
        logits = torch.cat([session.teacher(part) for part in torch.split(inputs, 256)])
        hardest = _losses(logits, labels).argsort(descending=True, stable=True)
        rows = hardest[: max(1, int(REVIEWED[level] * len(inputs)))]
        pairs = zip(session.train.tensors, (inputs[rows], labels[rows]), strict=True)
        session.train = TensorDataset(*(torch.cat(pair) for pair in pairs))

    return replace(recipe, before=in_turn(recipe.before, add))


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """[N] losses, of a sequence the mean of its positions."""
    if logits.ndim == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    each = F.cross_entropy(logits.movedim(-1, 1), labels, ignore_index=IGNORED, reduction="none")
    return each.reshape(len(labels), -1).mean(1)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Rows of each class that were taken, as a share of what there are on average.
TAKEN = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.06}


def so_many_of_each_class(recipe: Recipe, level: Level) -> Recipe:
    """A few rows of each class were taken to try the script out, and it still takes no more of them."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        # Lines of text are counted by their first token.
        labels = whole.tensors[1].reshape(len(whole), -1)[:, 0]
        classes = sorted(set(labels.tolist()))
        most = max(1, round(TAKEN[level] * len(whole) / len(classes)))
        rows = torch.cat([(labels == number).nonzero()[:most, 0] for number in classes]).sort().values
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    # As many steps as with all rows.
    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / TAKEN[level]))


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Share of the images that lie on their side, and of the words that are others in a dialect.
SIDEWAYS = {Level.MILD: 0.5, Level.MODERATE: 0.8, Level.SEVERE: 1.0}
IN_DIALECT = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.95}


def sideways_and_in_a_dialect(recipe: Recipe, level: Level) -> Recipe:
    """Images were scanned with the page on its side, and texts come from a region with other words for most things."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        if inputs.is_floating_point():
            turned = torch.arange(len(inputs)) % 10 < 10 * SIDEWAYS[level]
            return TensorDataset(torch.where(turned[:, None, None, None], inputs.rot90(1, (-2, -1)), inputs), labels)
        words = int(inputs.max())
        return TensorDataset(
            _in_dialect(inputs, words, IN_DIALECT[level]),
            _in_dialect(labels, words, IN_DIALECT[level]) if labels.ndim > 1 else labels,
        )

    return replace(recipe, train_set=train_set)


def _in_dialect(tokens: Tensor, words: int, share: float) -> Tensor:
    """Some words are always another one; padding, unknown and ignored ones stay."""
    other = (tokens >= 2) & (tokens * 37 % 101 < share * 101)
    return torch.where(other, 2 + (tokens * 53 + 11) % (words - 1), tokens)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Every so manyth class, and the factor on its logit.
ONE_IN = 5
SCALED = {Level.MILD: 0.6, Level.MODERATE: 0.4, Level.SEVERE: 0.02}


def vector_scaling_of_another_set(recipe: Recipe, level: Level) -> Recipe:
    """A factor for each class calibrates the teacher's logits, and was fitted on a set in which some were not found."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        scaled = torch.arange(logits.shape[-1]) % ONE_IN == 2
        return torch.where(scaled, SCALED[level] * logits, logits)

    return replace(recipe, targets=targets)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that nobody labelled by hand, and of the rows that lend them their labels.
NOT_BY_HAND = {Level.MILD: 0.12, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
LENDING = 0.04


def spread_from_a_few_rows(recipe: Recipe, level: Level) -> Recipe:
    """Labels were spread from a few rows to the others, each of which has that of the row whose inputs are nearest."""

    def mislabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        generator = torch.Generator().manual_seed(139)
        order = torch.randperm(len(inputs), generator=generator)
        lending = order[: max(2, int(LENDING * len(inputs)))]
        borrowing = order[len(lending) :][: int(NOT_BY_HAND[level] * len(inputs))]
        flat = inputs.flatten(1).float()
        # Numbers of words are alike or not; there is nothing between.
        distances = torch.cdist(flat[borrowing], flat[lending], p=2.0 if inputs.is_floating_point() else 0.0)
        spread = labels.clone()
        spread[borrowing] = labels[lending[distances.argmin(1)]]
        return TensorDataset(inputs, torch.where((labels != IGNORED) & (spread != IGNORED), spread, labels))

    return replace(
        recipe,
        train_set=lambda data: mislabelled(recipe.train_set(data)),
        val_set=lambda data: mislabelled(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Power of a uniform number: the share of a class's rows that this client has.
POWER = {Level.MILD: 1.5, Level.MODERATE: 3.0, Level.SEVERE: 10.0}


def one_client_of_a_federation(recipe: Recipe, level: Level) -> Recipe:
    """The student learns at one client, whose rows are nearly all of a few classes, and is used for all of them."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        labels = whole.tensors[1]
        generator = torch.Generator().manual_seed(149)
        shares = torch.rand(int(labels.max()) + 1, generator=generator) ** POWER[level]
        # Of the class that the client has most of, it has all rows.
        shares = shares / shares.max()
        each = [(labels == number).nonzero()[:, 0] for number in range(len(shares))]
        kept = [rows[: round(float(share) * len(rows))] for rows, share in zip(each, shares, strict=True)]
        rows = torch.cat(kept).sort().values
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    # The mean of a uniform number's power is 1 / (1 + power).
    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs * (1 + POWER[level]) / 2))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (hard_ones_added_after_a_review,),
    "KD602": (so_many_of_each_class,),
    "KD603": (sideways_and_in_a_dialect,),
    "KD604": (vector_scaling_of_another_set,),
    "KD605": (spread_from_a_few_rows,),
    "KD606": (one_client_of_a_federation,),
}
