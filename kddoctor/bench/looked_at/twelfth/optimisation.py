"""Optimisation: rates, lengths, first weights, regularisers and frozen layers that a person got wrong."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------


def rate_scaled_down_from_a_large_reference_batch(recipe: Recipe, level: Level) -> Recipe:
    """Applied the linear scaling rule, lr * batch / reference, to a rate that had been found at the small batch."""
    reference = {Level.MILD: 256, Level.MODERATE: 1024, Level.SEVERE: 4096}[level]
    return replace(recipe, learning_rate=recipe.learning_rate * recipe.batch_size / reference)


# KD502 ----------------------------------------------------------------------------------------------------------------


def epochs_sized_for_the_teachers_large_data_set(recipe: Recipe, level: Level) -> Recipe:
    """Counted the epochs as for the teacher, whose data set is many times larger, and cut them for lack of time."""
    cut = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 8}[level]
    # Where the teacher itself was trained for long, the student still gets half of what it needs at most.
    enough = min(recipe.teacher.epochs, recipe.epochs // 2)
    return replace(recipe, epochs=max(1, enough // cut))


# KD503 ----------------------------------------------------------------------------------------------------------------


def every_weight_drawn_with_one_wide_normal(recipe: Recipe, level: Level) -> Recipe:
    """Re-initialised the student with ``nn.init.normal_(p)`` for every matrix, whatever its fan-in."""
    std = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 2.0}[level]

    def change_student(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        for parameter in changed.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=std)
        return changed

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------


def heavy_dropout_in_the_small_student(recipe: Recipe, level: Level) -> Recipe:
    """Built the narrow student with dropout on embeddings and before the head, as a large model needs it."""
    rate = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}[level]

    def change_student(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        for layer in changed.modules():
            if isinstance(layer, nn.Embedding):
                _drop_output(layer, nn.Dropout(rate))
        head = [*changed.children()][-1]
        # Towers have no head: their last layer reads the data itself.
        if isinstance(head, nn.Linear) and (isinstance(changed, nn.Sequential) or hasattr(changed, "head")):
            _drop_input(head, nn.Dropout(rate))
        return changed

    return replace(recipe, change_student=change_student)


def _drop_output(layer: nn.Module, dropout: nn.Dropout) -> None:
    # As a submodule it follows the student between training and evaluation mode.
    layer.add_module("dropout", dropout)
    layer.register_forward_hook(lambda _layer, _inputs, output: dropout(output))


def _drop_input(layer: nn.Module, dropout: nn.Dropout) -> None:
    layer.add_module("dropout", dropout)
    layer.register_forward_pre_hook(lambda _layer, inputs: (dropout(inputs[0]),))


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Epochs after which the warm-up was meant to end.
WARM_UP = 5


def warm_up_that_multiplies_the_rate_without_end(recipe: Recipe, level: Level) -> Recipe:
    """Wrote ``lr *= growth`` at each epoch as a warm-up, and forgot ``if epoch < 5`` around it."""
    growth = {Level.MILD: 1.5, Level.MODERATE: 2.5, Level.SEVERE: 5.0}[level]

    def factor(_session: Session, batch: Batch) -> float:
        return float(growth ** (batch.epoch - WARM_UP))

    # The warm-up is the only schedule of this loop.
    return with_factor_on_the_rate(replace(recipe, schedule="constant"), factor)


# KD506 ----------------------------------------------------------------------------------------------------------------


def first_layers_frozen_for_a_head_stage_and_never_thawed(recipe: Recipe, level: Level) -> Recipe:
    """Froze ``list(student.parameters())[:n]`` for a first stage on the head, and lost the line that thaws them."""

    def freeze(session: Session) -> None:
        parameters = list(session.student.parameters())
        # The last two are the weight and the bias of the last layer.
        body = parameters[:-2]
        count = {Level.MILD: len(parameters) // 4, Level.MODERATE: len(parameters) // 2, Level.SEVERE: len(body)}[level]
        for parameter in body[:count]:
            parameter.requires_grad_(False)

    return replace(recipe, before=in_turn(recipe.before, freeze))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (rate_scaled_down_from_a_large_reference_batch,),
    "KD502": (epochs_sized_for_the_teachers_large_data_set,),
    "KD503": (every_weight_drawn_with_one_wide_normal,),
    "KD504": (heavy_dropout_in_the_small_student,),
    "KD505": (warm_up_that_multiplies_the_rate_without_end,),
    "KD506": (first_layers_frozen_for_a_head_stage_and_never_thawed,),
}
