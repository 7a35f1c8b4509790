"""KD405: one layer of the student lets almost nothing through."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: What a layer is squeezed to, as a share of its outputs or inputs, whichever are fewer.
HEAD = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.15}
FIRST = {Level.MILD: 0.45, Level.MODERATE: 0.25, Level.SEVERE: 0.12}


def low_rank_head(recipe: Recipe, level: Level) -> Recipe:
    """The last linear layer factorised to save weights, with a rank far below the number of classes."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = [pair for pair in student.named_modules() if isinstance(pair[1], nn.Linear)][-1]
        rank = max(1, round(HEAD[level] * min(head.in_features, head.out_features)))
        narrow = nn.Sequential(
            nn.Linear(head.in_features, rank, bias=False),
            nn.Linear(rank, head.out_features),
        )
        parent, _, last = name.rpartition(".")
        setattr(student.get_submodule(parent), last, narrow)
        return student

    return replace(recipe, change_student=change_student)


def squeezed_stem(recipe: Recipe, level: Level) -> Recipe:
    """A squeeze and an expansion after the first layer, for speed."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        first = next(m for m in student.modules() if isinstance(m, nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d))
        channels = first.weight.shape[1 if isinstance(first, nn.Embedding) else 0]
        axis = 1 if isinstance(first, nn.Conv1d | nn.Conv2d) else -1
        narrow = max(1, round(FIRST[level] * channels))
        down, up = nn.Linear(channels, narrow, bias=False), nn.Linear(narrow, channels, bias=False)
        nn.init.orthogonal_(down.weight)
        nn.init.orthogonal_(up.weight)
        first.add_module("squeeze", nn.Sequential(down, up, nn.LayerNorm(channels)))
        first.register_forward_hook(partial(_squeeze, axis))
        return student

    return replace(recipe, change_student=change_student)


def _squeeze(axis: int, layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    squeezed: Tensor = layer.get_submodule("squeeze")(torch.movedim(output, axis, -1))
    return torch.movedim(squeezed, -1, axis)


FAULT = Fault("KD405", seen=(low_rank_head,), unseen=(squeezed_stem,), kinds=("multiclass", "tokens"))
