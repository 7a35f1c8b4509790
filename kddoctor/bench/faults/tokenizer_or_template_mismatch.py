"""KD805: the teacher is given the numbers of another tokenizer."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Share of the vocabulary that the two tokenizers number differently, and that the teacher's does not know.
RENUMBERED = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 0.9}
UNKNOWN = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.8}


def added_token_moves_the_rest(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's vocabulary has one more token in the middle, and every number after it is one too low."""

    def renumbered(tokens: Tensor, size: int) -> Tensor:
        moved = tokens >= (1 - RENUMBERED[level]) * size
        return torch.where(moved, (tokens + 1).clamp_max(size - 1), tokens)

    return _reads(recipe, renumbered)


def unknown_to_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's vocabulary is shorter: what lies beyond it is mapped to one unknown token without a word."""

    def known(tokens: Tensor, size: int) -> Tensor:
        return torch.where(tokens < (1 - UNKNOWN[level]) * size, tokens, 1)

    return _reads(recipe, known)


def _reads(recipe: Recipe, numbers: Callable[[Tensor, int], Tensor]) -> Recipe:
    """The recipe with a teacher that reads these numbers instead, in the loop and in the evaluation."""

    def before(session: Session) -> None:
        size = int(session.train.tensors[0].max()) + 1

        def encode(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            return numbers(inputs[0], size)

        session.teacher.register_forward_pre_hook(encode)

    return replace(recipe, before=in_turn(recipe.before, before))


FAULT = Fault(
    "KD805",
    seen=(added_token_moves_the_rest,),
    unseen=(unknown_to_the_teacher,),
    kinds=("tokens",),
)
