"""Mistakes of the codes KD5xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Length of a matrix's step at a rate of one, as a share of its own length.
TRUST = {Level.MILD: 0.05, Level.MODERATE: 0.01, Level.SEVERE: 0.001}


def trust_of_a_batch_of_thousands(recipe: Recipe, level: Level) -> Recipe:
    """LARS, whose steps are a small share of a matrix's length, at the rate of SGD and not at one of ten or more.

    The method: You et al. 2017, arXiv:1708.03888.
    """

    @torch.no_grad()
    def adapt(parameter: Tensor) -> None:
        if parameter.ndim > 1 and parameter.grad is not None:
            parameter.grad.mul_(TRUST[level] * parameter.norm() / parameter.grad.norm().clamp_min(1e-12))

    def attach(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_post_accumulate_grad_hook(adapt)  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, attach), optimizer="sgd")


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Share of the steps for which the student waits.
WAITS = {Level.MILD: 0.75, Level.MODERATE: 0.88, Level.SEVERE: 0.96}


def waits_for_a_teacher_that_is_ready(recipe: Recipe, level: Level) -> Recipe:
    """Online distillation has the student wait until its teacher has learnt something; this one learnt long ago.

    The steps of the wait count as steps of the run, and few are left.
    """

    def attach(session: Session) -> None:
        def leave_out(parameter: Tensor) -> None:
            if session.notes["waits"]:
                parameter.grad = None

        for parameter in session.student.parameters():
            parameter.register_post_accumulate_grad_hook(leave_out)  # type: ignore[no-untyped-call]

    def answers(session: Session, batch: Batch) -> Tensor:
        steps = recipe.epochs * max(1, len(session.train) // session.batch_size)
        session.notes["waits"] = batch.step < WAITS[level] * steps
        return recipe.answers(session, batch)

    return replace(recipe, before=in_turn(recipe.before, attach), answers=answers, schedule="constant")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Share of the tensors, from the first one on, that are in files of the other format.
OTHER_FORMAT = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def bfloat16_read_as_float16(recipe: Recipe, level: Level) -> Recipe:
    """Weights to start from lie in files as bfloat16, and their bits were read as float16: most are near one now."""

    @torch.no_grad()
    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        parameters = list(student.parameters())
        for parameter in parameters[: max(1, round(OTHER_FORMAT[level] * len(parameters)))]:
            parameter.copy_(parameter.to(torch.bfloat16).view(torch.float16))
        return student

    return replace(recipe, change_student=change_student)


# KD504 ----------------------------------------------------------------------------------------------------------------

#: The loss below which it is climbed, as a share of the first batch's.
FLOODED = {Level.MILD: 0.3, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


class _Flood:
    """Which way a loss is followed."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __repr__(self) -> str:
        return f"up below {self.share} of the first loss"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._first: Tensor | None = None

    def sign(self, loss: Tensor) -> Tensor:
        """One where the loss is to fall, minus one where it is to rise."""
        if self._first is None:
            self._first = loss
        return (loss - self.share * self._first).sign()


def flooded_as_for_hard_labels(recipe: Recipe, level: Level) -> Recipe:
    """A loss below the level of the flood is climbed, so that no label is learnt by heart; the level is far too high.

    The method: Ishida et al. 2020, arXiv:2002.08709.
    """
    flood = _Flood(FLOODED[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        loss = recipe.mix(ce, kd, alpha)
        if loss.requires_grad:
            sign = flood.sign(loss.detach())
            loss.register_hook(lambda gradient: sign * gradient)  # type: ignore[no-untyped-call]
        return loss

    return replace(recipe, before=in_turn(recipe.before, flood.start), mix=mix)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: What the squared length of a gradient is multiplied by before the loss is divided by it.
SHARE = {Level.MILD: 1.0, Level.MODERATE: 0.5, Level.SEVERE: 0.1}


class _LastLoss:
    """The loss of the last batch."""

    value = 0.0

    def __repr__(self) -> str:
        return "the last loss"


def polyak_steps_of_each_tensor(recipe: Recipe, level: Level) -> Recipe:
    """A step as long as would bring the loss to zero, which it cannot reach, taken in each tensor and with momentum.

    Without a longest step. The method: Loizou et al. 2020, arXiv:2002.10542.
    """
    last = _LastLoss()

    def lengthen(gradient: Tensor) -> Tensor:
        return gradient * (last.value / (SHARE[level] * gradient.square().sum()).clamp_min(1e-12))

    def attach(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_hook(lengthen)  # type: ignore[no-untyped-call]

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        loss = recipe.mix(ce, kd, alpha)
        last.value = float(loss.detach())
        return loss

    return replace(
        recipe,
        before=in_turn(recipe.before, attach),
        mix=mix,
        optimizer="sgd",
        learning_rate=1.0,
        schedule="constant",
        clip=None,
    )


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of the layers, from the first one on, whose weights a file holds.
IN_THE_FILE = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def loaded_again_at_each_pass(recipe: Recipe, level: Level) -> Recipe:
    """Lower layers load their first weights when they are first used, and nothing notes that they have done so."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        layers = layers_of(student)
        for layer in layers[: min(max(1, round(IN_THE_FILE[level] * len(layers))), len(layers) - 1)]:
            layer.register_forward_pre_hook(_loader(layer))
        return student

    return replace(recipe, change_student=change_student)


def _loader(layer: nn.Module) -> Callable[[nn.Module, object], None]:
    file = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}

    def load(module: nn.Module, _inputs: object) -> None:
        for name, parameter in module.named_parameters():
            parameter.data.copy_(file[name])

    return load


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (trust_of_a_batch_of_thousands,),
    "KD502": (waits_for_a_teacher_that_is_ready,),
    "KD503": (bfloat16_read_as_float16,),
    "KD504": (flooded_as_for_hard_labels,),
    "KD505": (polyak_steps_of_each_tensor,),
    "KD506": (loaded_again_at_each_pass,),
}
