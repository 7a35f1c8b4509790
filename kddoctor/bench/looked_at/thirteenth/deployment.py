"""Mistakes between the trained student and its use: what is kept, how it is evaluated, what is asked of it."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session

# KD701 ---------------------------------------------------------------------------------------------------------------


def best_checkpoint_chosen_by_teacher_accuracy(recipe: Recipe, level: Level) -> Recipe:
    """Handed the teacher to the evaluation that picks the best checkpoint: no later one ever beats the first."""
    # How many epochs lie between two evaluations, and so before the first.
    every = {Level.MILD: recipe.epochs // 2, Level.MODERATE: recipe.epochs // 5, Level.SEVERE: 1}[level]

    def keep_the_best(session: Session) -> None:
        done = session.notes.get("epochs done", 0)
        session.notes["epochs done"] = done + 1
        if done == 0 or done % max(1, every) != 0:
            return
        accuracy = _teacher_accuracy(session)
        if accuracy > session.notes.get("best accuracy", 0.0):
            session.notes["best accuracy"] = accuracy
            session.notes["best"] = {name: value.clone() for name, value in session.student.state_dict().items()}

    return replace(
        recipe,
        before_epoch=in_turn(keep_the_best, recipe.before_epoch),
        after=in_turn(recipe.after, _load_the_best),
    )


def _load_the_best(session: Session) -> None:
    session.student.load_state_dict(session.notes["best"])


@torch.no_grad()
def _teacher_accuracy(session: Session) -> float:
    inputs, labels = session.val.tensors
    rows, truth = class_rows(session.teacher(inputs), labels)
    return float((rows.argmax(1) == truth).double().mean())


# KD702 ---------------------------------------------------------------------------------------------------------------

#: Mean and standard deviation that people copy: of MNIST, of Fashion-MNIST, of nothing in particular.
COPIED_STATISTICS = {Level.MILD: (0.1307, 0.3081), Level.MODERATE: (0.2860, 0.3530), Level.SEVERE: (0.5, 0.5)}
#: Where in the evaluation's vocabulary the added token went, as a share of the vocabulary.
ADDED_AT = {Level.MILD: 0.5, Level.MODERATE: 0.1, Level.SEVERE: 0.0}


def validation_preprocessed_by_another_script(recipe: Recipe, level: Level) -> Recipe:
    """Evaluated with another script's preprocessing: it normalises images, and its vocabulary has one token more."""

    def preprocessed(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.val_set(data).tensors
        if inputs.is_floating_point():
            mean, deviation = COPIED_STATISTICS[level]
            return TensorDataset((inputs - mean) / deviation, labels)
        last = int(inputs.max())
        moved = inputs + (inputs > ADDED_AT[level] * last).long()
        return TensorDataset(moved.clamp(max=last), labels)

    return replace(recipe, val_set=preprocessed)


# KD703 ---------------------------------------------------------------------------------------------------------------

BITS = {Level.MILD: 4, Level.MODERATE: 3, Level.SEVERE: 2}


def exported_with_few_bits_per_tensor(recipe: Recipe, level: Level) -> Recipe:
    """Rounded the finished student's weights to a few bits, one scale a tensor, without training for it."""
    largest = 2 ** (BITS[level] - 1) - 1

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for parameter in session.student.parameters():
            # Biases and normalisation stay in full precision, as exporters leave them.
            if parameter.ndim > 1:
                scale = parameter.abs().max() / largest
                parameter.copy_((parameter / scale).round() * scale)

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ---------------------------------------------------------------------------------------------------------------

#: Share of the teacher's metric; above 1, the student was to beat it.
RETENTION = {Level.MILD: 0.99, Level.MODERATE: 1.0, Level.SEVERE: 1.03}


def retention_promised_that_so_small_a_student_misses(recipe: Recipe, level: Level) -> Recipe:
    """Promised all of the teacher's quality, or more, from a student that is many times smaller."""
    return replace(recipe, wanted={"retention": RETENTION[level]})


# KD705 ---------------------------------------------------------------------------------------------------------------

POSITIVE_WEIGHT = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 15.0}


def teacher_trained_with_weighted_positives(recipe: Recipe, level: Level) -> Recipe:
    """Distilled a teacher whose loss weighted the positives up for recall, and kept the threshold at one half."""
    weight = torch.tensor([1.0, POSITIVE_WEIGHT[level]])

    def weighted_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight=weight)

    return replace(recipe, teacher=replace(recipe.teacher, loss=weighted_cross_entropy))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (best_checkpoint_chosen_by_teacher_accuracy,),
    "KD702": (validation_preprocessed_by_another_script,),
    "KD703": (exported_with_few_bits_per_tensor,),
    "KD704": (retention_promised_that_so_small_a_student_misses,),
    "KD705": (teacher_trained_with_weighted_positives,),
}
