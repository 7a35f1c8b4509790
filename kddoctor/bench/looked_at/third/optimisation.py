"""Mistakes of the codes KD5xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Rates that are usual with Adam.
USUAL = {Level.MILD: 1e-2, Level.MODERATE: 3e-3, Level.SEVERE: 3e-4}


def plain_sgd_at_the_rate_of_adam(recipe: Recipe, level: Level) -> Recipe:
    """Adam was replaced by SGD without momentum, to save memory, and its rate was kept."""
    return replace(recipe, optimizer="sgd", momentum=0.0, learning_rate=USUAL[level])


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Share of the epochs that came after the job was started again.
LEFT = {Level.MILD: 0.25, Level.MODERATE: 0.15, Level.SEVERE: 0.06}


def lost_to_a_restart(recipe: Recipe, level: Level) -> Recipe:
    """The job was stopped and resumed at its epoch with a new student: only what was left of the epochs is learnt."""

    def remember(session: Session) -> None:
        session.notes["new student"] = deepcopy(session.student.state_dict())

    def resume(session: Session) -> None:
        epoch = session.notes["begun"] = session.notes.get("begun", -1) + 1
        if epoch == recipe.epochs - max(1, round(LEFT[level] * recipe.epochs)):
            session.student.load_state_dict(session.notes["new student"])

    return replace(
        recipe,
        before=in_turn(recipe.before, remember),
        before_epoch=in_turn(recipe.before_epoch, resume),
        schedule="constant",
    )


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Share of the tensors, from the last one on, that the checkpoint to start from does not hold.
NOT_HELD = {Level.MILD: 0.5, Level.MODERATE: 0.8, Level.SEVERE: 1.0}


def zeros_for_what_the_checkpoint_lacks(recipe: Recipe, level: Level) -> Recipe:
    """Weights to start from are read from a checkpoint, and what it does not hold is left as zeros in every layer."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        parameters = list(student.parameters())
        for parameter in parameters[-max(2, round(NOT_HELD[level] * len(parameters))) :]:
            parameter.zero_()
        return student

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Strength of the pull towards the first weights.
PULL = {Level.MILD: 0.02, Level.MODERATE: 0.08, Level.SEVERE: 0.5}


def pulled_back_to_the_first_weights(recipe: Recipe, level: Level) -> Recipe:
    """A penalty on the distance to the first weights, meant for a student that had been pretrained, on a new one."""

    def pull(parameter: nn.Parameter) -> None:
        first = parameter.detach().clone()

        def with_pull(gradient: Tensor) -> Tensor:
            return gradient + PULL[level] * (parameter.detach() - first)

        parameter.register_hook(with_pull)  # type: ignore[no-untyped-call]

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            pull(parameter)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Length to which a gradient was to be clipped.
ALLOWED = {Level.MILD: 1e-2, Level.MODERATE: 1e-4, Level.SEVERE: 1e-7}


def clipped_upside_down(recipe: Recipe, level: Level) -> Recipe:
    """Own clipping with its fraction upside down: the longer a gradient is, the more it is lengthened."""

    def clip(gradient: Tensor) -> Tensor:
        lengthened: Tensor = gradient * (gradient.norm() / ALLOWED[level])
        return lengthened

    def attach(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_hook(clip)  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, attach), optimizer="sgd", clip=None)


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the tensors that were made anew.
MADE_ANEW = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def made_anew_after_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """Tensors are converted to another layout after the optimizer was made, which goes on with the old ones."""

    def convert(session: Session) -> None:
        if session.notes.setdefault("converted", False):
            return
        session.notes["converted"] = True
        names = [name for name, _ in session.student.named_parameters()]
        count = min(max(1, round(MADE_ANEW[level] * len(names))), len(names) - 1)
        for place in torch.linspace(0, len(names) - 1, count).round().long().tolist():
            owner, _, last = names[place].rpartition(".")
            module = session.student.get_submodule(owner)
            setattr(module, last, nn.Parameter(getattr(module, last).detach().clone()))

    return replace(recipe, before_epoch=in_turn(recipe.before_epoch, convert))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (plain_sgd_at_the_rate_of_adam,),
    "KD502": (lost_to_a_restart,),
    "KD503": (zeros_for_what_the_checkpoint_lacks,),
    "KD504": (pulled_back_to_the_first_weights,),
    "KD505": (clipped_upside_down,),
    "KD506": (made_anew_after_the_optimizer,),
}
