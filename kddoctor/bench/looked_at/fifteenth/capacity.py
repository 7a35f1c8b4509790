"""Students that cannot hold what they are asked to, and features that are matched where nothing corresponds."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----

#: Places in a weight that share one number.
_SHARING = {Level.MILD: 4, Level.MODERATE: 8, Level.SEVERE: 16}


class Hashed(nn.Module):
    """A weight whose places take their numbers, up to a sign, from a much shorter list."""

    buckets: Tensor
    signs: Tensor

    def __init__(self, weight: Tensor, sharing: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(weight.numel())
        self.count = max(1, weight.numel() // sharing)
        self.register_buffer("buckets", torch.randint(self.count, weight.shape, generator=generator))
        self.register_buffer("signs", torch.randint(2, weight.shape, generator=generator) * 2.0 - 1)

    def forward(self, numbers: Tensor) -> Tensor:
        """The weight of the shared numbers."""
        return numbers[self.buckets] * self.signs

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The first numbers: those of the weight's beginning."""
        return weight.detach().flatten()[: self.count].clone()


def hashed_the_weights_to_fit_the_flash_memory(recipe: Recipe, level: Level) -> Recipe:
    """Let the student's weights share numbers by a hash, as the device had room for a fraction of them."""

    def hashed(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            _parametrize(layer, Hashed(_weight(layer), _SHARING[level]))
        return student

    return replace(for_long(recipe), change_student=hashed)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _parametrize(layer: nn.Module, form: nn.Module) -> None:
    parametrize.register_parametrization(layer, "weight", form, unsafe=True)


# KD402 ----

#: Share of the connections that are cut.
_CUT = {Level.MILD: 0.6, Level.MODERATE: 0.8, Level.SEVERE: 0.92}


class Sparse(nn.Module):
    """A weight most of whose places stay zero."""

    kept: Tensor

    def __init__(self, weight: Tensor, cut: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(weight.numel())
        self.register_buffer("kept", torch.rand(weight.shape, generator=generator) >= cut)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its holes."""
        return weight * self.kept


def pruned_the_student_before_it_had_learnt(recipe: Recipe, level: Level) -> Recipe:
    """Cut nearly all connections of the new student at random, as its runtime is fast for sparse weights only."""

    def pruned(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            _parametrize(layer, Sparse(_weight(layer), _CUT[level]))
        return student

    return replace(for_long(recipe), change_student=pruned)


# KD403 ----

_POOLED_WEIGHT = {Level.MILD: 2.0, Level.MODERATE: 6.0, Level.SEVERE: 20.0}


def resized_the_features_until_the_shapes_agreed(recipe: Recipe, level: Level) -> Recipe:
    """Interpolated the teacher's features to the student's width, unit by unit, and had the student copy them."""

    def distance(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        resized = F.interpolate(teacher.detach().flatten(1)[:, None], size=student.shape[-1], mode="nearest")[:, 0]
        return relative_error(student, resized)

    return replace(recipe, before=in_turn(recipe.before, watch), hint=distance, hint_weight=_POOLED_WEIGHT[level])


# KD404 ----

_PAIRED_WEIGHT = {Level.MILD: 10.0, Level.MODERATE: 20.0, Level.SEVERE: 40.0}


def zipped_the_layers_from_opposite_ends(recipe: Recipe, level: Level) -> Recipe:
    """Collected the teacher's layers from the output down and the student's from the input up, and zipped the two."""

    def parameters(session: Session) -> list[nn.Parameter]:
        projectors = session.notes["projectors"]
        return [*recipe.parameters(session), *(weight for one in projectors for weight in one.parameters())]

    return replace(
        recipe,
        before=in_turn(recipe.before, _watch_layers),
        parameters=parameters,
        hint=_over_pairs,
        hint_weight=_PAIRED_WEIGHT[level],
    )


def _watch_layers(session: Session) -> None:
    outputs: dict[str, list[Tensor]] = {"teacher": [], "student": []}
    session.notes["outputs"] = outputs
    for role, model in (("teacher", session.teacher), ("student", session.student)):
        model.register_forward_pre_hook(_emptied(outputs[role]))
        for layer in layers_of(model)[:-1]:
            layer.register_forward_hook(_kept(outputs[role]))
    with torch.no_grad():
        for model in (session.teacher, session.student):
            training = model.training
            model.eval()(session.train.tensors[0][:2])
            model.train(training)
    session.notes["projectors"] = nn.ModuleList(
        new_projector(student.shape[-1], teacher.shape[-1]) for student, teacher in _pairs(outputs)
    )


def _emptied(kept: list[Tensor]) -> Callable[..., None]:
    return lambda _module, _inputs: kept.clear()


def _kept(kept: list[Tensor]) -> Callable[..., None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, object]) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    return keep


def _pairs(outputs: Mapping[str, list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The student's layers spread over the teacher's, which stand the other way round."""
    student, teacher = outputs["student"], outputs["teacher"][::-1]
    last = len(teacher) - 1
    steps = [last if len(student) == 1 else round(at * last / (len(student) - 1)) for at in range(len(student))]
    return [_same_length(mine, teacher[at]) for mine, at in zip(student, steps, strict=True)]


def _same_length(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """[B, D] or [B, L, D] of both: maps and sequences of different lengths are averaged over their places."""
    student, teacher = (one.flatten(2).mean(2) if one.ndim > 3 else one for one in (student, teacher))
    if student.ndim == teacher.ndim and student.shape[:-1] == teacher.shape[:-1]:
        return student, teacher.detach()
    student, teacher = (one.mean(1) if one.ndim == 3 else one for one in (student, teacher))
    return student, teacher.detach()


def _over_pairs(session: Session, batch: Batch) -> Tensor:
    pairs = [_that_count(*pair, batch.labels) for pair in _pairs(session.notes["outputs"])]
    errors = [
        F.mse_loss(projector(_standardised(student)), _standardised(teacher))
        for projector, (student, teacher) in zip(session.notes["projectors"], pairs, strict=True)
    ]
    return torch.stack(errors).mean()


def _that_count(student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if labels.ndim == 1 or student.shape[:-1] != labels.shape:
        return student, teacher
    return student[labels != IGNORED], teacher[labels != IGNORED]


def _standardised(features: Tensor) -> Tensor:
    """Each unit around zero and of variance one over the batch."""
    flat = features.flatten(0, -2)
    return (features - flat.mean(0)) / flat.std(0).clamp_min(1e-3)


# KD405 ----

_RANK = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 2}


class LowRank(nn.Module):
    """A weight as the product of two thin ones."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.shape, self.rank = weight.shape, rank

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """The product, in the weight's shape."""
        return (left @ right).reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest product to a weight."""
        left, sizes, right = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
        roots = sizes[: self.rank].sqrt()
        return left[:, : self.rank] * roots, roots[:, None] * right[: self.rank]


def factorised_the_input_layer(recipe: Recipe, level: Level) -> Recipe:
    """Factorised the student's input layer, in which most of its parameters lay, with a rank of a few."""

    def factorised(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        first = weighted(student)[0]
        _parametrize(first, LowRank(_weight(first), _RANK[level]))
        return student

    return replace(recipe, change_student=factorised)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (hashed_the_weights_to_fit_the_flash_memory,),
    "KD402": (pruned_the_student_before_it_had_learnt,),
    "KD403": (resized_the_features_until_the_shapes_agreed,),
    "KD404": (zipped_the_layers_from_opposite_ends,),
    "KD405": (factorised_the_input_layer,),
}
