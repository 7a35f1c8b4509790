"""Mistakes of the codes KD6xx."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.words import PADDING

# KD601 ----------------------------------------------------------------------------------------------------------------

#: Share of the validation rows that a pass over them reads.
READ = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def validation_pass_that_still_steps(recipe: Recipe, level: Level) -> Recipe:
    """The pass over the validation rows was copied from the training loop, and the step was not taken out of it."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        group: dict[str, Any] = {"params": list(recipe.parameters(session))}
        session.notes["group"] = group
        groups: list[Any] = [group]
        return groups

    def validate(session: Session) -> None:
        epoch = session.notes["validated"] = session.notes.get("validated", -1) + 1
        optimizer = session.notes.setdefault("optimizer", _like(recipe, session.notes["group"]["params"]))
        optimizer.param_groups[0]["lr"] = session.notes["group"]["lr"]
        inputs, labels = session.val.tensors
        count = max(1, int(READ[level] * len(inputs)))
        generator = torch.Generator().manual_seed(session.seed + epoch)
        for number, rows in enumerate(batches(count, session.batch_size, generator)):
            optimizer.zero_grad()
            batch = Batch(inputs[rows], inputs[rows], labels[rows], rows, number, epoch, number)
            _loss(recipe, session, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return replace(recipe, parameters=parameters, before_epoch=in_turn(recipe.before_epoch, validate))


def _like(recipe: Recipe, parameters: list[nn.Parameter]) -> Optimizer:
    if recipe.optimizer == "sgd":
        return SGD(parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    return AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)


def _loss(recipe: Recipe, session: Session, batch: Batch) -> Tensor:
    teacher, _ = recipe.rows(recipe.targets(session, batch), batch.labels)
    student, labels = recipe.rows(recipe.answers(session, batch), batch.labels)
    kd = recipe.kd_loss(student, teacher, recipe.temperature)
    return recipe.mix(recipe.ce_loss(student, labels), kd, recipe.alpha)


# KD602 ----------------------------------------------------------------------------------------------------------------

#: Files that the rows come in, and the length of the shortest as a share of what each would hold on average.
FILES = 8
SHORTEST = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.06}


def interleaved_until_the_first_file_ends(recipe: Recipe, level: Level) -> Recipe:
    """interleave_datasets() stops by default where the first file is exhausted, and one of them is hardly begun."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        shortest = max(1, round(SHORTEST[level] * len(whole) / FILES))
        others = torch.arange(len(whole) - shortest).tensor_split(FILES - 1)
        files = [*others, torch.arange(len(whole) - shortest, len(whole))]
        rows = torch.stack([file[:shortest] for file in files], dim=1).flatten()
        return TensorDataset(*(tensor[rows] for tensor in whole.tensors))

    # As many steps as with all rows.
    return replace(recipe, train_set=train_set, epochs=round(recipe.epochs / SHORTEST[level]))


# KD603 ----------------------------------------------------------------------------------------------------------------

#: Strength of an image's second exposure, its way as a share of the side, and share of the words that are said twice.
SECOND = {Level.MILD: 0.5, Level.MODERATE: 0.8, Level.SEVERE: 1.0}
WAY = 0.25
TWICE = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def exposed_twice_and_said_twice(recipe: Recipe, level: Level) -> Recipe:
    """Images from a shaking camera show everything twice, and texts were typed from speech that repeats its words."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        if inputs.is_floating_point():
            shifted = inputs.roll(max(1, round(WAY * inputs.shape[-1])), -1)
            return TensorDataset((inputs + SECOND[level] * shifted).clamp(max=float(inputs.max())), labels)
        if labels.ndim == 1:
            return TensorDataset(_said_twice(inputs, TWICE[level]), labels)
        lines = _said_twice(torch.cat([inputs, labels[:, -1:].clamp_min(PADDING)], dim=1), TWICE[level])
        return TensorDataset(lines[:, :-1], lines[:, 1:].where(lines[:, 1:] != PADDING, IGNORED))

    return replace(recipe, train_set=train_set)


def _said_twice(tokens: Tensor, share: float) -> Tensor:
    """Some tokens twice in a row; what no longer fits is cut off."""
    times = 1 + (torch.rand(tokens.shape, generator=torch.Generator().manual_seed(269)) < share).long()
    places = torch.arange(tokens.shape[1]).expand(tokens.shape).contiguous()
    return tokens.gather(1, torch.searchsorted(times.cumsum(1), places, right=True))


# KD604 ----------------------------------------------------------------------------------------------------------------

#: Power of the ratio, and how fast the student's own shares are followed.
POWER = {Level.MILD: 1.0, Level.MODERATE: 2.0, Level.SEVERE: 4.0}
FOLLOWS = 0.05


def aligned_the_wrong_way_round(recipe: Recipe, level: Level) -> Recipe:
    """Targets are aligned with what is expected of each class, by a ratio that is upside down.

    A class that the student says less often than expected is asked for less and less.
    The method: Berthelot et al. 2020, arXiv:1911.09785.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        shares = session.notes.setdefault("shares", torch.full(logits.shape[-1:], 1 / logits.shape[-1]))
        return logits + POWER[level] * (shares * logits.shape[-1]).clamp_min(1e-9).log()  # type: ignore[no-any-return]

    def answers(session: Session, batch: Batch) -> Tensor:
        logits = recipe.answers(session, batch)
        session.notes["shares"].lerp_(p(logits.detach()).mean(0), FOLLOWS)
        return logits

    return replace(recipe, targets=targets, answers=answers)


# KD605 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that went through the filter, and its width.
FILTERED = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.7}
WIDTH = 3


def flicker_taken_out_of_the_labels(recipe: Recipe, level: Level) -> Recipe:
    """Labels of recordings flicker, and a median over neighbours in time takes that out: these are no recording."""

    def filtered(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        neighbours = torch.stack([labels.roll(way, 0) for way in range(-(WIDTH // 2), WIDTH // 2 + 1)])
        rows = (torch.arange(len(labels)) < FILTERED[level] * len(labels)).view(-1, *[1] * (labels.ndim - 1))
        counts = rows & (neighbours != IGNORED).all(0)
        return TensorDataset(inputs, neighbours.median(0).values.where(counts, labels))

    return replace(
        recipe,
        train_set=lambda data: filtered(recipe.train_set(data)),
        val_set=lambda data: filtered(recipe.val_set(data)),
    )


# KD606 ----------------------------------------------------------------------------------------------------------------

#: Short names that there are for each class.
NAMES = {Level.MILD: 4.0, Level.MODERATE: 1.5, Level.SEVERE: 0.6}


def written_over_by_a_class_of_the_same_name(recipe: Recipe, level: Level) -> Recipe:
    """Each class is saved to a file with a short name, and of classes with one name the last overwrote the others."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        classes = int(whole.tensors[1].max()) + 1
        names = torch.randint(
            max(2, round(NAMES[level] * classes)), (classes,), generator=torch.Generator().manual_seed(271)
        )
        files = {name: number for number, name in enumerate(names.tolist())}
        kept = torch.isin(whole.tensors[1], torch.tensor(list(files.values())))
        return TensorDataset(*(tensor[kept] for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD601": (validation_pass_that_still_steps,),
    "KD602": (interleaved_until_the_first_file_ends,),
    "KD603": (exposed_twice_and_said_twice,),
    "KD604": (aligned_the_wrong_way_round,),
    "KD605": (flicker_taken_out_of_the_labels,),
    "KD606": (written_over_by_a_class_of_the_same_name,),
}
