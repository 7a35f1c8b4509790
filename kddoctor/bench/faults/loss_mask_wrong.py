"""KD801: the losses count positions that they should not, or leave out some that they should."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED

#: Share of a row that is taken for its prompt.
PROMPT = {Level.MILD: 0.6, Level.MODERATE: 0.85, Level.SEVERE: 0.96}


def padding_counts(recipe: Recipe, _level: Level) -> Recipe:
    """No mask: cross-entropy ignores its index by itself, the distillation term averages over all positions."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return logits.flatten(0, -2), labels.flatten()

    return replace(recipe, rows=rows)


def padding_is_learnt(recipe: Recipe, _level: Level) -> Recipe:
    """The collator pads labels with the padding token, and nothing tells it from a word."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return logits.flatten(0, -2), labels.flatten().clamp_min(0)

    return replace(recipe, rows=rows)


def prompt_of_the_longest_row(recipe: Recipe, level: Level) -> Recipe:
    """The longest prompt of the set is masked in every row, and with it the beginning of most answers."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        start = min(int(PROMPT[level] * labels.shape[1]), labels.shape[1] - 1)
        counts = (labels != IGNORED) & (torch.arange(labels.shape[1]) >= start)
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


FAULT = Fault(
    "KD801",
    seen=(padding_counts,),
    unseen=(padding_is_learnt, prompt_of_the_longest_row),
    kinds=("tokens",),
)
