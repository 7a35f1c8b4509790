"""Mistakes in how the student is optimised: rate, length, first weights, regularisation and what is trained at all."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Steps: the default of many examples, a long fine-tuning, and the pre-training of BERT.
WARM_UP = {Level.MILD: 500, Level.MODERATE: 2000, Level.SEVERE: 10_000}


def warm_up_steps_copied_from_a_far_longer_training(recipe: Recipe, level: Level) -> Recipe:
    """Took over ``num_warmup_steps`` of a big training; this one ends before its rate gets anywhere near the peak."""

    def linear(_session: Session, batch: Batch) -> float:
        return min(1.0, (batch.step + 1) / WARM_UP[level])

    return with_factor_on_the_rate(recipe, linear)


# KD502 ----------------------------------------------------------------------------------------------------------------

#: As many as one fine-tunes a pretrained model for.
EPOCHS = {Level.MILD: 8, Level.MODERATE: 4, Level.SEVERE: 2}


def epochs_as_for_fine_tuning_a_pretrained_model(recipe: Recipe, level: Level) -> Recipe:
    """Left the number of epochs at what fine-tuning takes, for a student that starts from scratch."""
    return replace(recipe, epochs=min(recipe.epochs, EPOCHS[level]))


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Standard deviation; 1 is the default of ``nn.init.normal_``.
SPREAD = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def all_matrices_drawn_anew_from_a_wide_normal(recipe: Recipe, level: Level) -> Recipe:
    """Wrote an own ``init_weights`` that draws every matrix from one normal, without regard to the fan-in."""

    def init_weights(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=SPREAD[level])
        return student

    return replace(recipe, change_student=init_weights)


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Probability to drop; the last is what comes of a probability to keep, as older code has it.
DROPPED = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def dropout_of_a_big_model_in_the_small_student(recipe: Recipe, level: Level) -> Recipe:
    """Gave the small student a dropout that only a far bigger model could do with."""

    def with_dropout(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        present = [module for module in student.modules() if isinstance(module, nn.Dropout)]
        for dropout in present:
            dropout.p = DROPPED[level]
        if not present:
            _drop_before_the_head(student, DROPPED[level])
        return student

    return replace(recipe, change_student=with_dropout)


def _drop_before_the_head(student: nn.Module, probability: float) -> None:
    name, head = [(name, child) for name, child in student.named_children() if isinstance(child, nn.Linear)][-1]
    setattr(student, name, nn.Sequential(nn.Dropout(probability), head))


# KD505 ----------------------------------------------------------------------------------------------------------------

#: The rate starts at this share of what was declared and is multiplied at each step.
START = 0.01
GROWTH = {Level.MILD: 1.04, Level.MODERATE: 1.06, Level.SEVERE: 1.1}


def exponential_warm_up_that_nothing_stops(recipe: Recipe, level: Level) -> Recipe:
    """Warmed the rate up exponentially and forgot the ``min(1, …)``, so that it grows beyond all bounds."""

    def exponential(_session: Session, batch: Batch) -> float:
        return START * GROWTH[level] ** batch.step

    return with_factor_on_the_rate(recipe, exponential)


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the layers below the head that the first phase freezes; one at least.
FROZEN = {Level.MILD: 0.0, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def optimizer_made_while_the_lower_layers_were_frozen(recipe: Recipe, level: Level) -> Recipe:
    """Froze lower layers for the first epoch and gave the optimizer only what then needed a gradient, for good."""

    def freeze(session: Session) -> None:
        for layer in _below_the_head(session.student, FROZEN[level]):
            layer.requires_grad_(False)

    def trainable(session: Session) -> Iterable[nn.Parameter]:
        return [parameter for parameter in recipe.parameters(session) if parameter.requires_grad]

    def unfreeze(session: Session) -> None:
        recipe.before_epoch(session)
        # Every epoch begins with this line; in the first one the phase is not over.
        if session.notes.setdefault("warmed_up", False):
            session.student.requires_grad_(True)
        session.notes["warmed_up"] = True

    return replace(recipe, before=in_turn(recipe.before, freeze), parameters=trainable, before_epoch=unfreeze)


def _below_the_head(student: nn.Module, share: float) -> list[nn.Module]:
    *below, _ = (child for child in student.children() if any(True for _ in child.parameters()))
    return below[: max(1, round(share * len(below)))]


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (warm_up_steps_copied_from_a_far_longer_training,),
    "KD502": (epochs_as_for_fine_tuning_a_pretrained_model,),
    "KD503": (all_matrices_drawn_anew_from_a_wide_normal,),
    "KD504": (dropout_of_a_big_model_in_the_small_student,),
    "KD505": (exponential_warm_up_that_nothing_stops,),
    "KD506": (optimizer_made_while_the_lower_layers_were_frozen,),
}
