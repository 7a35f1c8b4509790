"""Mistakes in how the student is started and trained: rate, budget, first weights, dropout, growth, frozen parts."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session

# KD501 ---------------------------------------------------------------------------------------------------------------

#: Rates that guides give for adapting weights that are good already; the last is what Trainer takes unless told.
_RATES_FOR_FINE_TUNING = {Level.MILD: 2e-3, Level.MODERATE: 5e-4, Level.SEVERE: 5e-5}


def rate_of_a_fine_tuning_guide(recipe: Recipe, level: Level) -> Recipe:
    """Took the learning rate from a guide to fine-tuning, although this student learns from scratch."""
    return replace(recipe, learning_rate=_RATES_FOR_FINE_TUNING[level])


# KD502 ---------------------------------------------------------------------------------------------------------------

_SHARE_OF_EPOCHS = {Level.MILD: 0.4, Level.MODERATE: 0.15, Level.SEVERE: 0.05}


def few_epochs_since_the_teacher_guides(recipe: Recipe, level: Level) -> Recipe:
    """Budgeted a handful of epochs, as one does for a model that is only adapted."""
    return replace(recipe, epochs=max(1, round(recipe.epochs * _SHARE_OF_EPOCHS[level])))


# KD503 ---------------------------------------------------------------------------------------------------------------

#: The last is what nn.init.normal_ takes unless told.
_SPREADS = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def weights_drawn_from_a_wide_normal(recipe: Recipe, level: Level) -> Recipe:
    """Wrote an own loop over the weights with nn.init.normal_ and a spread that ignores how wide the layers are."""

    def change(student: nn.Module) -> nn.Module:
        built = recipe.change_student(student)
        for parameter in built.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=_SPREADS[level])
        return built

    return replace(recipe, change_student=change)


# KD504 ---------------------------------------------------------------------------------------------------------------

#: The last is a keep probability of older code, handed to PyTorch as the probability to drop.
_DROPPED = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def keep_probability_passed_as_dropout(recipe: Recipe, level: Level) -> Recipe:
    """Gave the small student heavy dropout, from a config that meant the share to keep."""

    def change(student: nn.Module) -> nn.Module:
        built = recipe.change_student(student)
        _drop(built, _DROPPED[level])
        return built

    return replace(recipe, change_student=change)


def _drop(student: nn.Module, share: float) -> None:
    """In the student's own dropout layers; where it has none, in front of its last linear layer."""
    own = [module for module in student.modules() if isinstance(module, nn.Dropout)]
    for module in own:
        module.p = share
    if own:
        return

    def dropped(head: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return F.dropout(inputs[0], share, training=head.training)

    last = [module for module in student.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_pre_hook(dropped)


# KD505 ---------------------------------------------------------------------------------------------------------------

_DECAY = {Level.MILD: 0.97, Level.MODERATE: 0.95, Level.SEVERE: 0.93}


def decay_divides_the_rate(recipe: Recipe, level: Level) -> Recipe:
    """Decayed the rate exponentially at each step, but divided by the factor, so that the rate grows without end."""

    def factor(_session: Session, batch: Batch) -> float:
        return 1 / _DECAY[level] ** batch.step

    return with_factor_on_the_rate(replace(recipe, schedule="constant"), factor)


# KD506 ---------------------------------------------------------------------------------------------------------------


def backbone_frozen_as_in_transfer_learning(recipe: Recipe, level: Level) -> Recipe:
    """Froze the student's lower layers and gave the optimizer the rest, as if they had been pretrained."""

    def freeze(session: Session) -> None:
        layers = [child for child in session.student.children() if list(child.parameters())]
        below = len(layers) - 1
        frozen = {Level.MILD: 1, Level.MODERATE: max(1, below - 1), Level.SEVERE: below}[level]
        for layer in layers[:frozen]:
            layer.requires_grad_(False)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [parameter for parameter in recipe.parameters(session) if parameter.requires_grad]

    return replace(recipe, before=in_turn(recipe.before, freeze), parameters=parameters)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (rate_of_a_fine_tuning_guide,),
    "KD502": (few_epochs_since_the_teacher_guides,),
    "KD503": (weights_drawn_from_a_wide_normal,),
    "KD504": (keep_probability_passed_as_dropout,),
    "KD505": (decay_divides_the_rate,),
    "KD506": (backbone_frozen_as_in_transfer_learning,),
}
