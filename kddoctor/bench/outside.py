"""Faults that no code of the catalogue names: the right answer is that the run is sick, of an unknown cause.

None of them touches the teacher, the loss, the data, the schedule's numbers or what is evaluated; all of them break
what happens between the gradient and the weights, where a catalogue of distillation faults has nothing to say.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.variant import Variant

# What happens to gradients --------------------------------------------------------------------------------


def gradients_unpacked_with_an_offset(recipe: Recipe) -> Recipe:
    """Gradients travel in one flat buffer and are unpacked with an offset: below the head, each weight gets another's.

    The head's come first in the buffer, where the offset is still right.
    """

    def unpack(session: Session) -> None:
        _hook(_below_the_head(session.student), _shifted)

    return replace(recipe, before=in_turn(recipe.before, unpack))


def _shifted(gradient: Tensor) -> Tensor:
    return gradient.flatten().roll(OFFSET).reshape(gradient.shape)


#: Places by which the buffer is off.
OFFSET = 7


def _below_the_head(student: nn.Module) -> list[nn.Parameter]:
    parameters = list(student.parameters())
    head = 2 if parameters[-1].ndim == 1 else 1
    return parameters[:-head]


def only_the_largest_gradients(recipe: Recipe) -> Recipe:
    """Gradients compressed to their largest entries, and what is left out is thrown away instead of carried over."""

    def compress(session: Session) -> None:
        _hook(session.student.parameters(), _compressed)

    return replace(recipe, before=in_turn(recipe.before, compress))


def _compressed(gradient: Tensor) -> Tensor:
    kept = max(1, round(KEPT * gradient.numel()))
    smallest = gradient.abs().flatten().topk(kept).values[-1]
    return torch.where(gradient.abs() >= smallest, gradient, 0.0)


#: Share of the entries of a gradient that the compression keeps.
KEPT = 0.002


def privacy_noise(recipe: Recipe) -> Recipe:
    """Noise for differential privacy, left switched on: several times as long as the gradient it is added to."""

    def noise(session: Session) -> None:
        _hook(session.student.parameters(), _noisy)

    return replace(recipe, before=in_turn(recipe.before, noise))


def _noisy(gradient: Tensor) -> Tensor:
    noise = torch.randn_like(gradient)
    return gradient + noise * (NOISE * float(gradient.norm() / noise.norm()))


#: Length of the privacy noise in lengths of the gradient.
NOISE = 3.0


def _hook(parameters: Iterable[nn.Parameter], change: Callable[[Tensor], Tensor]) -> None:
    for parameter in parameters:
        parameter.register_hook(change)  # type: ignore[no-untyped-call]


# What happens to weights ----------------------------------------------------------------------------------


def first_weights_every_epoch(recipe: Recipe) -> Recipe:
    """The initialisation is called in the loop over epochs: each epoch starts from scratch."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        _reset(session.student, session.notes.setdefault("first", _copied(session.student)))

    return replace(recipe, before_epoch=before_epoch)


def resumed_from_the_first_checkpoint(recipe: Recipe) -> Recipe:
    """The job was moved shortly before its end, and resumed from the oldest checkpoint instead of the newest."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        first = session.notes.setdefault("first", _copied(session.student))
        session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        if session.notes["epoch"] == recipe.epochs - max(1, recipe.epochs // 12):
            _reset(session.student, first)

    return replace(recipe, before_epoch=before_epoch)


def worst_weights_restored(recipe: Recipe) -> Recipe:
    """Each epoch goes on from the best weights so far, by a loss of which more was taken to be better."""

    def answers(session: Session, batch: Batch) -> Tensor:
        logits = recipe.answers(session, batch)
        rows, labels = recipe.rows(logits.detach(), batch.labels)
        session.notes.setdefault("losses", []).append(float(recipe.ce_loss(rows, labels)))
        return logits

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        seen = session.notes.pop("losses", [])
        score = sum(seen) / len(seen) if seen else float("-inf")
        if score >= session.notes.get("score", float("-inf")):
            session.notes["score"], session.notes["best"] = score, _copied(session.student)
        _reset(session.student, session.notes["best"])

    return replace(recipe, answers=answers, before_epoch=before_epoch)


def slow_weights_the_wrong_way_round(recipe: Recipe) -> Recipe:
    """Lookahead with its two weights exchanged: every fifth step goes nearly all the way back.

    The method: Zhang et al. 2019, arXiv:1907.08610.
    """

    def answers(session: Session, batch: Batch) -> Tensor:
        slow = session.notes.setdefault("slow", _copied(session.student))
        if batch.step % 5 == 0:
            with torch.no_grad():
                for name, value in session.student.named_parameters():
                    value.lerp_(slow[name], PULL)
            session.notes["slow"] = _copied(session.student)
        return recipe.answers(session, batch)

    return replace(recipe, answers=answers)


#: How far back to the slow weights.
PULL = 0.98


def averaged_with_an_idle_replica(recipe: Recipe) -> Recipe:
    """Replicas are averaged after each epoch, and one of the two has never been trained."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        idle = session.notes.setdefault("idle", _shuffled(session.student))
        with torch.no_grad():
            for name, value in session.student.named_parameters():
                value.lerp_(idle[name], 0.5)

    return replace(recipe, before_epoch=before_epoch)


def coarse_weights(recipe: Recipe) -> Recipe:
    """Weights stored in a narrow format after each step: updates smaller than its grain are lost."""

    def answers(session: Session, batch: Batch) -> Tensor:
        with torch.no_grad():
            for value in session.student.parameters():
                value.copy_((value / GRAIN).round() * GRAIN)
        return recipe.answers(session, batch)

    return replace(recipe, answers=answers)


#: Smallest difference of two weights in the narrow format (8 bits from -4 to 4).
GRAIN = 8 / 256


def _copied(student: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in student.state_dict().items()}


def _reset(student: nn.Module, state: dict[str, Tensor]) -> None:
    student.load_state_dict(state)


def _shuffled(student: nn.Module) -> dict[str, Tensor]:
    """Other first weights of the same distribution."""
    return {
        name: value.detach().flatten()[torch.randperm(value.numel())].reshape(value.shape)
        for name, value in student.named_parameters()
    }


OUTSIDE = (
    Variant("gradients unpacked with an offset", gradients_unpacked_with_an_offset),
    Variant("only the largest gradients", only_the_largest_gradients),
    # On MovieLens it does no measurable harm.
    Variant("privacy noise on gradients", privacy_noise, kinds=("multiclass", "tokens")),
    Variant("first weights every epoch", first_weights_every_epoch),
    Variant("resumed from the first checkpoint", resumed_from_the_first_checkpoint),
    Variant("worst weights restored", worst_weights_restored),
    Variant("slow weights the wrong way round", slow_weights_the_wrong_way_round),
    Variant("averaged with an idle replica", averaged_with_an_idle_replica),
    Variant("coarse weights", coarse_weights),
)
