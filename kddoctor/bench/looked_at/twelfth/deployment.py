"""Mistakes after the training: what is kept, how it is evaluated and exported, and what was asked of it."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import WEIGHTED
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session

# KD701 ----------------------------------------------------------------------------------------------------------------


def accuracy_checkpoint_in_mode_min(recipe: Recipe, level: Level) -> Recipe:
    """Monitors the validation accuracy with a checkpoint callback left in mode "min", and restores its best."""
    # Share of the epochs after which the callback begins to watch.
    start = {Level.MILD: 0.4, Level.MODERATE: 0.15, Level.SEVERE: 0.0}[level]
    first = max(1, round(start * recipe.epochs))

    def keep_best(session: Session) -> None:
        done = session.notes.setdefault("epochs done", 0)
        session.notes["epochs done"] = done + 1
        if done < first:
            return
        score = _validation_accuracy(session)
        if score < session.notes.get("best score", float("inf")):
            session.notes["best score"] = score
            session.notes["best state"] = deepcopy(session.student.state_dict())

    def restore_best(session: Session) -> None:
        if "best state" in session.notes:
            session.student.load_state_dict(session.notes["best state"])

    return replace(
        recipe,
        before_epoch=in_turn(keep_best, recipe.before_epoch),
        after=in_turn(recipe.after, restore_best),
    )


@torch.no_grad()
def _validation_accuracy(session: Session) -> float:
    session.student.eval()
    inputs, labels = session.val.tensors
    rows, truth = class_rows(session.student(inputs), labels)
    return float((rows.argmax(1) == truth).double().mean())


# KD702 ----------------------------------------------------------------------------------------------------------------


def evaluation_preprocessing_from_another_template(recipe: Recipe, level: Level) -> Recipe:
    """Evaluates with a template's preprocessing: resize and centre crop for images, a smaller num_words for text."""

    def prepared(data: TensorDataset) -> TensorDataset:
        inputs, *others = recipe.val_set(data).tensors
        if inputs.ndim == 4:
            return TensorDataset(_resized_and_cropped(inputs, level), *others)
        if inputs.is_floating_point():
            return TensorDataset(_first_features(inputs, level), *others)
        return TensorDataset(_frequent_words(inputs, level), *others)

    return replace(recipe, val_set=prepared)


def _resized_and_cropped(images: Tensor, level: Level) -> Tensor:
    # 256 / 224 is the ratio of the ImageNet template.
    ratio = {Level.MILD: 256 / 224, Level.MODERATE: 1.35, Level.SEVERE: 1.6}[level]
    zoom = torch.eye(2, 3).expand(len(images), 2, 3) / ratio
    grid = F.affine_grid(zoom, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _share_kept(level: Level) -> float:
    """Share of the words of a text that the smaller vocabulary knows."""
    return {Level.MILD: 0.9, Level.MODERATE: 0.75, Level.SEVERE: 0.5}[level]


def _frequent_words(tokens: Tensor, level: Level) -> Tensor:
    # Tokens are numbered by their frequency, and what a tokenizer does not know is its number 0.
    last = torch.quantile(tokens[tokens > 0].float()[:1_000_000], _share_kept(level))
    return tokens.where(tokens <= last, 0)


def _first_features(features: Tensor, level: Level) -> Tensor:
    kept = torch.arange(features.shape[1]) < _share_kept(level) * features.shape[1]
    return features * kept


# KD703 ----------------------------------------------------------------------------------------------------------------


def weights_rounded_to_few_bits_per_tensor(recipe: Recipe, level: Level) -> Recipe:
    """Exports the student with weights rounded to few bits, one scale a tensor, and does not train it for that."""
    bits = {Level.MILD: 4, Level.MODERATE: 3, Level.SEVERE: 2}[level]

    def export(session: Session) -> None:
        for module in session.student.modules():
            if isinstance(module, WEIGHTED):
                _quantise(module, bits)

    return replace(recipe, after=in_turn(recipe.after, export))


@torch.no_grad()
def _quantise(module: nn.Module, bits: int) -> None:
    """Symmetric rounding to the nearest step between minus and plus the largest weight."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    steps = 2 ** (bits - 1) - 1
    scale = weight.abs().max().clamp_min(1e-8) / steps
    weight.copy_((weight / scale).round().clamp(-steps, steps) * scale)


# KD704 ----------------------------------------------------------------------------------------------------------------


def student_wanted_as_good_as_teacher_or_better(recipe: Recipe, level: Level) -> Recipe:
    """Promises that nothing will be lost, or that the student will beat its teacher, whatever its size."""
    retention = {Level.MILD: 1.0, Level.MODERATE: 1.03, Level.SEVERE: 1.1}[level]
    return replace(recipe, wanted={**(recipe.wanted or {}), "retention": retention})


# KD705 ----------------------------------------------------------------------------------------------------------------


def teacher_trained_with_heavy_positives(recipe: Recipe, level: Level) -> Recipe:
    """Takes a teacher that was trained with a weight on positives, and distils its scores without correcting them."""
    weight = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 15.0}[level]
    return replace(recipe, teacher=replace(recipe.teacher, loss=partial(_heavy_positives, weight)))


def _heavy_positives(weight: float, rows: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(rows, labels, weight=torch.tensor([1.0, weight]))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (accuracy_checkpoint_in_mode_min,),
    "KD702": (evaluation_preprocessing_from_another_template,),
    "KD703": (weights_rounded_to_few_bits_per_tensor,),
    "KD704": (student_wanted_as_good_as_teacher_or_better,),
    "KD705": (teacher_trained_with_heavy_positives,),
}
