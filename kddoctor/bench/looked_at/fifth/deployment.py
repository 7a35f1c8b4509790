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
from kddoctor.bench.session import Batch, Session

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Steps after which a checkpoint is saved; the last of their numbers, read as words, is 90, 50 (or 500) and 8.
SAVED = {
    Level.MILD: range(10, 5000, 10),
    Level.MODERATE: tuple(first * 10**power for power in range(4) for first in (1, 2, 5)),
    Level.SEVERE: tuple(2**power for power in range(13)),
}


def last_checkpoint_by_its_name(recipe: Recipe, level: Level) -> Recipe:
    """Checkpoints bear the number of their step, and the last of their sorted names is loaded: 8 comes after 256."""

    def answers(session: Session, batch: Batch) -> Tensor:
        name = f"step-{batch.step}"
        if batch.step in SAVED[level] and name > session.notes.get("last name", ""):
            session.notes["last name"], session.notes["last"] = name, deepcopy(session.student.state_dict())
        return recipe.answers(session, batch)

    def load_last(session: Session) -> None:
        session.student.load_state_dict(session.notes["last"])

    return replace(recipe, answers=answers, after=in_turn(recipe.after, load_last))


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Share of a row that is still the one before it.
LEFT_OVER = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.65}


def buffer_that_is_not_cleared(recipe: Recipe, level: Level) -> Recipe:
    """The service writes requests into one buffer and not to its end, where the one before is still to be read."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        axis = min(given.ndim - 1, 2)
        written = given.shape[axis] - max(1, round(LEFT_OVER[level] * given.shape[axis]))
        parts = (given.narrow(axis, 0, written), given.roll(1, 0).narrow(axis, written, given.shape[axis] - written))
        return torch.cat(parts, dim=axis)

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Bits by which codes of eight bits are shifted.
SHIFTED = {Level.MILD: 3, Level.MODERATE: 5, Level.SEVERE: 6}


def shifted_right_and_never_rounded(recipe: Recipe, level: Level) -> Recipe:
    """Codes of eight bits are shifted to fewer, which takes each weight down to the next step below it."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for parameter in session.student.parameters():
            step = parameter.abs().max().clamp_min(1e-12) / 127
            codes = (parameter / step).round().to(torch.int8) >> SHIFTED[level]
            parameter.copy_(codes * 2 ** SHIFTED[level] * step)

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Rows that the exported student takes at a time, and milliseconds that a batch may take.
AT_A_TIME = {Level.MILD: 16, Level.MODERATE: 4, Level.SEVERE: 1}
ALLOWED_MS = 0.2


def exported_for_a_row_at_a_time(recipe: Recipe, level: Level) -> Recipe:
    """The export fixed the size of a batch at that of its example, so that in use a batch is answered bit by bit."""

    def answer_bit_by_bit(student: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        return torch.cat([student.forward(rows) for rows in torch.split(inputs[0], AT_A_TIME[level])])

    def export(session: Session) -> None:
        session.student.register_forward_hook(answer_bit_by_bit)

    return replace(recipe, after=in_turn(recipe.after, export), wanted={"latency_ms": ALLOWED_MS})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Negatives for each positive among the rows that the calibration is fitted to.
NEGATIVES = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 20.0}


def calibrated_on_rows_with_few_positives(recipe: Recipe, level: Level) -> Recipe:
    """Scores are calibrated by a slope and an offset, fitted to rows that hold far fewer positives than the use."""

    def export(session: Session) -> None:
        inputs, labels = session.train.tensors
        with torch.no_grad():
            scores = session.student.eval()(inputs)
        negatives = int((labels == 0).sum())
        positives = (labels == 1).nonzero()[: max(1, round(negatives / NEGATIVES[level])), 0]
        rows = torch.cat([positives, (labels == 0).nonzero()[:, 0]])
        slope, offset = _calibration(scores[rows], labels[rows].to(scores.dtype))
        session.student.register_forward_hook(lambda _student, _inputs, logits: slope * logits + offset)

    return replace(recipe, after=in_turn(recipe.after, export))


def _calibration(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Slope and offset of a logistic regression on the score. Source: Platt 1999."""
    line = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=50)

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(line[0] * scores + line[1], labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(line[0].detach()), float(line[1].detach())


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (last_checkpoint_by_its_name,),
    "KD702": (buffer_that_is_not_cleared,),
    "KD703": (shifted_right_and_never_rounded,),
    "KD704": (exported_for_a_row_at_a_time,),
    "KD705": (calibrated_on_rows_with_few_positives,),
}
