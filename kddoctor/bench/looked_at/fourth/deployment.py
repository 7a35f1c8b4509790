"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Share of the epochs before which no checkpoint is kept; the check before the training counts as one.
KEPT_FROM = {Level.MILD: 0.1, Level.MODERATE: 0.03, Level.SEVERE: 0.0}


def best_by_a_loss_with_mode_max(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint with the best validation loss is exported, and the best of a metric is its maximum by default."""

    def keep(session: Session) -> None:
        epoch = session.notes["checked"] = session.notes.get("checked", -1) + 1
        if epoch < round(KEPT_FROM[level] * recipe.epochs):
            return
        loss = _validation_loss(session)
        if loss > session.notes.get("best loss", -1.0):
            session.notes["best loss"], session.notes["best"] = loss, deepcopy(session.student.state_dict())

    def export(session: Session) -> None:
        session.student.load_state_dict(session.notes["best"])

    return replace(
        recipe,
        before_epoch=in_turn(recipe.before_epoch, keep),
        after=in_turn(recipe.after, export),
    )


@torch.no_grad()
def _validation_loss(session: Session) -> float:
    inputs, labels = session.val.tensors
    training = session.student.training
    logits = torch.cat([session.student.eval()(part) for part in torch.split(inputs, 256)])
    session.student.train(training)
    return float(F.cross_entropy(*class_rows(logits, labels)))


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Share of the requests that come from clients which lose the order.
LOSING = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def order_lost_in_the_request(recipe: Recipe, level: Level) -> Recipe:
    """On the way to the service order is lost: the two axes of an image are exchanged, a text's words are sorted."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        if given.is_floating_point():
            lost = given.transpose(-1, -2)
            number = (1000 * given.flatten(1).sum(1)).long()
        else:
            lost = given.sort(dim=1).values
            number = given.sum(1)
        concerned = number % 10 < 10 * LOSING[level]
        return torch.where(concerned.view(-1, *[1] * (given.ndim - 1)), lost, given)

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Powers of two that a weight may be, from the largest weight of its tensor down; what is smaller is nothing.
POWERS = {Level.MILD: 3, Level.MODERATE: 2, Level.SEVERE: 1}


def nothing_but_shifts(recipe: Recipe, level: Level) -> Recipe:
    """For hardware that shifts instead of multiplying, each weight became the nearest of a few powers of two."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for parameter in session.student.parameters():
            if parameter.ndim > 1:
                shifts = (parameter.abs().max().clamp_min(1e-12) / parameter.abs().clamp_min(1e-12)).log2().round()
                power = parameter.abs().max() * 2.0**-shifts
                parameter.copy_(torch.where(shifts < POWERS[level], parameter.sign() * power, 0.0))

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Passes that are averaged, and milliseconds that one batch may take.
PASSES = {Level.MILD: 10, Level.MODERATE: 25, Level.SEVERE: 100}
ALLOWED_MS = 0.2


def averaged_as_in_a_competition(recipe: Recipe, level: Level) -> Recipe:
    """In use the student answers many times and the mean is taken, in a time that was meant for one answer."""

    def answer_again(student: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        again = [student.forward(*inputs) for _ in range(PASSES[level] - 1)]
        mean: Tensor = torch.stack([output, *again]).mean(0)
        return mean

    def deploy(session: Session) -> None:
        session.student.register_forward_hook(answer_again)

    return replace(recipe, after=in_turn(recipe.after, deploy), wanted={"latency_ms": ALLOWED_MS})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Weight of a positive in the teacher's training.
POSITIVE = {Level.MILD: 4.0, Level.MODERATE: 8.0, Level.SEVERE: 30.0}


def teacher_trained_for_recall(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained to miss no positive, and its scores are distilled as if they were for every use."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight=torch.tensor([1.0, POSITIVE[level]]))

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (best_by_a_loss_with_mode_max,),
    "KD702": (order_lost_in_the_request,),
    "KD703": (nothing_but_shifts,),
    "KD704": (averaged_as_in_a_competition,),
    "KD705": (teacher_trained_for_recall,),
}
