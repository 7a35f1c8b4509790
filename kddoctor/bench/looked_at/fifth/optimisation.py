"""Mistakes of the codes KD5xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import LAYERS
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import with_factor_on_the_rate
from kddoctor.bench.session import Batch, Session, batches

# KD501 ----------------------------------------------------------------------------------------------------------------

#: Factor on the rate that was meant for each epoch.
DECAY = {Level.MILD: 0.99, Level.MODERATE: 0.96, Level.SEVERE: 0.85}


def decayed_by_batch_instead_of_by_epoch(recipe: Recipe, level: Level) -> Recipe:
    """An exponential decay that was set for epochs is stepped with the optimizer: the rate is gone before long."""
    return with_factor_on_the_rate(recipe, lambda _session, batch: DECAY[level] ** batch.step)


# KD502 ----------------------------------------------------------------------------------------------------------------

#: Share of the way from slow weights to fast ones that a synchronisation goes, and steps between two of them.
WAY = {Level.MILD: 0.2, Level.MODERATE: 0.1, Level.SEVERE: 0.03}
STEPS = 5


def lookahead_of_a_long_run(recipe: Recipe, level: Level) -> Recipe:
    """Lookahead's slow weights follow by the small share that a far longer run allowed; the epochs are the usual."""

    def start(session: Session) -> None:
        session.notes["slow"] = [parameter.detach().clone() for parameter in session.student.parameters()]

    @torch.no_grad()
    def synchronise(session: Session) -> None:
        for slow, fast in zip(session.notes["slow"], session.student.parameters(), strict=True):
            slow.lerp_(fast, WAY[level])
            fast.copy_(slow)

    def answers(session: Session, batch: Batch) -> Tensor:
        if batch.step % STEPS == 0:
            synchronise(session)
        return recipe.answers(session, batch)

    return replace(recipe, before=in_turn(recipe.before, start), answers=answers, schedule="constant")


# KD503 ----------------------------------------------------------------------------------------------------------------

#: Epochs of the run that the weights come from, and Adam's rate in it.
EARLIER = {Level.MILD: 4, Level.MODERATE: 15, Level.SEVERE: 40}
EARLIER_RATE = 0.05


def warm_start_from_a_run_on_shuffled_labels(recipe: Recipe, level: Level) -> Recipe:
    """The student starts from an earlier run's weights, whose labels, as was found out later, had been shuffled."""

    def warm_start(session: Session) -> None:
        inputs, labels = session.train.tensors
        generator = torch.Generator().manual_seed(session.seed + 131)
        shuffled = labels[torch.randperm(len(labels), generator=generator)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(session.seed + 131)
            student = session.student.train()
            optimizer = Adam(student.parameters(), EARLIER_RATE)
            for _ in range(EARLIER[level]):
                for rows in batches(len(inputs), recipe.batch_size, generator):
                    optimizer.zero_grad()
                    loss = recipe.ce_loss(*recipe.rows(student(inputs[rows]), shuffled[rows]))
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
            optimizer.zero_grad()

    return replace(recipe, before=in_turn(recipe.before, warm_start))


# KD504 ----------------------------------------------------------------------------------------------------------------

#: Weight of a penalty on the squares of what layers put out.
ACTIVITY = {Level.MILD: 0.02, Level.MODERATE: 0.2, Level.SEVERE: 2.0}


def penalty_on_activity_meant_for_weights(recipe: Recipe, level: Level) -> Recipe:
    """The layers' regulariser was passed as that of their activity: what they put out is to be small, not a weight."""

    def penalise(layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        activity = output if isinstance(output, Tensor) else output[0]
        if layer.training and activity.requires_grad:
            penalty = ACTIVITY[level] * activity.detach() / len(activity)
            activity.register_hook(lambda gradient: gradient + penalty)  # type: ignore[no-untyped-call]

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in student.modules():
            if isinstance(layer, LAYERS):
                layer.register_forward_hook(penalise)
        return student

    return replace(recipe, change_student=change_student)


# KD505 ----------------------------------------------------------------------------------------------------------------

#: Factor on the rate from each batch to the next.
GROWTH = {Level.MILD: 1.05, Level.MODERATE: 1.1, Level.SEVERE: 1.2}


def range_test_of_the_rate_left_on(recipe: Recipe, level: Level) -> Recipe:
    """The search for a rate, which raises it with each batch until the loss explodes, was left on for the run."""
    slow = replace(recipe, learning_rate=0.1 * recipe.learning_rate, schedule="constant", clip=None)
    return with_factor_on_the_rate(slow, lambda _session, batch: GROWTH[level] ** batch.step)


# KD506 ----------------------------------------------------------------------------------------------------------------

#: Share of each tensor's rows whose gradient is erased.
OLD = {Level.MILD: 0.35, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def gradients_of_old_rows_erased_in_every_tensor(recipe: Recipe, level: Level) -> Recipe:
    """A mask that lets only the rows of added words learn, made for one embedding, is put on every tensor."""

    def erase(gradient: Tensor) -> Tensor:
        erased = gradient.clone()
        erased[: min(round(OLD[level] * len(gradient)), len(gradient) - 1)] = 0.0
        return erased

    def attach(session: Session) -> None:
        for parameter in session.student.parameters():
            parameter.register_hook(erase)  # type: ignore[no-untyped-call]

    return replace(recipe, before=in_turn(recipe.before, attach))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD501": (decayed_by_batch_instead_of_by_epoch,),
    "KD502": (lookahead_of_a_long_run,),
    "KD503": (warm_start_from_a_run_on_shuffled_labels,),
    "KD504": (penalty_on_activity_meant_for_weights,),
    "KD505": (range_test_of_the_rate_left_on,),
    "KD506": (gradients_of_old_rows_erased_in_every_tensor,),
}
