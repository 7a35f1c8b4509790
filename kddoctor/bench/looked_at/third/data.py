"""Mistakes of the codes KD6xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that serve as rows without labels.
UNLABELLED = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def held_out_inputs_as_unlabelled_rows(recipe: Recipe, level: Level) -> Recipe:
    """Rows without labels were wanted, and the validation inputs are some: the teacher's answers are their labels."""

    @torch.no_grad()
    def add(session: Session) -> None:
        inputs, labels = session.val.tensors
        count = max(1, int(UNLABELLED[level] * len(inputs)))
        logits = torch.cat([session.teacher(part) for part in torch.split(inputs[:count], 256)])
        answers = (logits > 0).long() if logits.ndim == 1 else logits.argmax(-1)
        added = inputs[:count], torch.where(labels[:count] == IGNORED, IGNORED, answers)
        pairs = zip(session.train.tensors, added, strict=True)
        session.train = TensorDataset(*(torch.cat(pair) for pair in pairs))

    return replace(recipe, before=in_turn(recipe.before, add))


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Fingerprints that there are, as a share of the rows.
FINGERPRINTS = {Level.MILD: 0.6, Level.MODERATE: 0.25, Level.SEVERE: 0.08}


def fingerprints_that_collide(recipe: Recipe, level: Level) -> Recipe:
    """Duplicates were removed by a fingerprint of a few bits: rows that have nothing in common passed for copies."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        inputs = whole.tensors[0].flatten(1).double()
        factors = torch.rand(inputs.shape[1], generator=torch.Generator().manual_seed(109), dtype=torch.float64)
        prints = (1e4 * (inputs @ factors)).long() % max(2, int(FINGERPRINTS[level] * len(whole)))
        first: dict[int, int] = {}
        for row, print_ in enumerate(prints.tolist()):
            first.setdefault(print_, row)
        rows = torch.tensor(sorted(first.values()))
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    # As many steps as with all rows.
    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / FINGERPRINTS[level]))


# KD603 ----------------------------------------------------------------------------------------------------------------

#: How far images are turned into negatives (a half would be plain grey), and share of the words that simple texts use.
NEGATIVE = {Level.MILD: 0.25, Level.MODERATE: 0.75, Level.SEVERE: 1.0}
SIMPLE = {Level.MILD: 0.6, Level.MODERATE: 0.3, Level.SEVERE: 0.1}


def negatives_and_simple_texts(recipe: Recipe, level: Level) -> Recipe:
    """What was easy to get: scans of negatives, and texts rewritten with the most common words alone."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        if inputs.is_floating_point():
            share = NEGATIVE[level]
            return TensorDataset((1 - share) * inputs + share * (inputs.max() - inputs), labels)
        known = max(4, int(SIMPLE[level] * int(inputs.max())))
        return TensorDataset(_simple(inputs, known), _simple(labels, known) if labels.ndim > 1 else labels)

    return replace(recipe, train_set=train_set)


def _simple(tokens: Tensor, known: int) -> Tensor:
    """Tokens beyond the known ones become some of these; padding, unknown and ignored ones stay."""
    return torch.where(tokens >= known, 2 + (tokens * 31 + 7) % (known - 2), tokens)


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Every so manyth class is part of the one before it, and the share of its probability that goes there.
ONE_IN = 4
ROLLED_UP = {Level.MILD: 0.4, Level.MODERATE: 0.6, Level.SEVERE: 0.95}


def rolled_up_by_the_teachers_taxonomy(recipe: Recipe, level: Level) -> Recipe:
    """The teacher answers by an older taxonomy, in which some classes were hardly ever told from their neighbour."""

    def targets(session: Session, batch: Batch) -> Tensor:
        said = p(recipe.targets(session, batch))
        part = torch.arange(said.shape[-1]) % ONE_IN == ONE_IN - 1
        moved = ROLLED_UP[level] * said * part
        return (said - moved + moved.roll(-1, dims=-1)).clamp_min(1e-9).log()

    return replace(recipe, targets=targets)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Rows of a page, and share of the pages on which the first answer was drawn down.
PAGE = 6
DRAWN_DOWN = {Level.MILD: 0.08, Level.MODERATE: 0.2, Level.SEVERE: 0.6}


def first_answer_drawn_down(recipe: Recipe, level: Level) -> Recipe:
    """Labels were entered in a spreadsheet, and on many a page the first answer was drawn down over the rest."""

    def mislabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        rows = torch.arange(len(labels))
        page = rows // PAGE
        careless = torch.rand(int(page.max()) + 1, generator=torch.Generator().manual_seed(113)) < DRAWN_DOWN[level]
        first = labels[page * PAGE]
        wrong = careless[page].view(-1, *[1] * (labels.ndim - 1))
        return TensorDataset(inputs, torch.where(wrong & (labels != IGNORED) & (first != IGNORED), first, labels))

    return replace(
        recipe,
        train_set=lambda data: mislabelled(recipe.train_set(data)),
        val_set=lambda data: mislabelled(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Share of the files that never arrived.
FAILED = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.55}


def files_that_failed_to_arrive(recipe: Recipe, level: Level) -> Recipe:
    """The set comes in files of one length that were written class by class, and some of them failed to arrive."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        labels = whole.tensors[1]
        files = int(labels.max()) + 1
        place = labels.argsort(stable=True).argsort()
        lost = torch.randperm(files, generator=torch.Generator().manual_seed(127))[
            : max(1, round(FAILED[level] * files))
        ]
        kept = ~torch.isin(place * files // len(place), lost)
        return TensorDataset(*(tensor[kept] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / (1 - FAILED[level])))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (held_out_inputs_as_unlabelled_rows,),
    "KD602": (fingerprints_that_collide,),
    "KD603": (negatives_and_simple_texts,),
    "KD604": (rolled_up_by_the_teachers_taxonomy,),
    "KD605": (first_answer_drawn_down,),
    "KD606": (files_that_failed_to_arrive,),
}
