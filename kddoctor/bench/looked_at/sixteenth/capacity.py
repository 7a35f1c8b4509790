"""Mistakes in what is asked of a student of its size, and in what its features are compared with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench import losses
from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD401 ----

_PHONE = {Level.MILD: 0.4, Level.MODERATE: 0.25, Level.SEVERE: 0.15}


def every_logit_of_the_server_model_regressed_by_the_phone_variant(recipe: Recipe, level: Level) -> Recipe:
    """Took the smallest variant of the student and still had it regress each of the big teacher's logits."""
    return replace(recipe, width=recipe.width * _PHONE[level], loss="mse", kd_loss=losses.mse, alpha=1.0)


# KD402 ----

_PRUNED = {Level.MILD: 0.5, Level.MODERATE: 0.75, Level.SEVERE: 0.88}


def pruned_before_it_learnt_anything(recipe: Recipe, level: Level) -> Recipe:
    """Pruned the new student by magnitude to the sparsity that the device wants, and trained what was left."""
    change = recipe.change_student

    def pruned(student: nn.Module) -> nn.Module:
        return _sparse(change(student), _PRUNED[level])

    return replace(recipe, change_student=pruned)


def _sparse(student: nn.Module, share: float) -> nn.Module:
    for weight in student.parameters():
        if weight.ndim > 1:
            _prune(weight, share)
    return student


@torch.no_grad()
def _prune(weight: nn.Parameter, share: float) -> None:
    sizes = weight.abs().flatten()
    cut = sizes.kthvalue(max(1, round(share * len(sizes)))).values
    mask = (weight.abs() > cut).to(weight.dtype)
    weight.mul_(mask)
    weight.register_hook(partial(torch.mul, mask))  # type: ignore[no-untyped-call]


# KD403 ----

_RESIZED = {Level.MILD: 4.5, Level.MODERATE: 6.0, Level.SEVERE: 12.0}


def features_resized_until_the_shapes_agreed(recipe: Recipe, level: Level) -> Recipe:
    """Resized the wider model's features by average pooling, unit next to unit, since the shapes did not agree."""
    return replace(recipe, before=in_turn(recipe.before, watch), hint=_resized_distance, hint_weight=_RESIZED[level])


def _resized_distance(session: Session, batch: Batch) -> Tensor:
    student, teacher = features_that_count(session, batch)
    width = min(student.shape[-1], teacher.shape[-1])
    return relative_error(_resized(student, width), _resized(teacher.detach(), width))


def _resized(features: Tensor, width: int) -> Tensor:
    flat = features.reshape(-1, 1, features.shape[-1])
    return F.adaptive_avg_pool1d(flat, width).squeeze(1)


# KD404 ----

_PAIRED = {Level.MILD: 4.0, Level.MODERATE: 8.0, Level.SEVERE: 16.0}


def one_list_from_the_stem_and_the_other_from_the_head(recipe: Recipe, level: Level) -> Recipe:
    """Listed the student's layers from the stem up and the teacher's from the head down, and zipped the two."""
    parameters = recipe.parameters

    def with_projectors(session: Session) -> Iterable[nn.Parameter]:
        return [*parameters(session), *session.notes["projectors"].parameters()]

    return replace(
        recipe,
        before=in_turn(recipe.before, _pair_layers),
        parameters=with_projectors,
        hint=_distance_of_pairs,
        hint_weight=_PAIRED[level],
    )


def _pair_layers(session: Session) -> None:
    seen: dict[str, dict[int, Tensor]] = {"student": {}, "teacher": {}}
    inner = {role: layers_of(model)[:-1] for role, model in _models(session).items()}
    pairs = _from_both_ends(len(inner["student"]), len(inner["teacher"]))
    for role, layers in inner.items():
        for number, layer in enumerate(layers):
            layer.register_forward_hook(_keeper(seen[role], number))
    session.notes.update(pairs=pairs, seen=seen)
    _run_two_rows(session)
    session.notes["projectors"] = nn.ModuleList(
        new_projector(*(features.shape[-1] for features in pair)) for pair in _features_of_pairs(session)
    )


def _models(session: Session) -> dict[str, nn.Module]:
    return {"student": session.student, "teacher": session.teacher}


def _from_both_ends(students: int, teachers: int) -> list[tuple[int, int]]:
    last = max(1, students - 1)
    return [(at, round((students - 1 - at) * (teachers - 1) / last)) for at in range(students)]


def _keeper(kept: dict[int, Tensor], number: int) -> Callable[[nn.Module, object, object], None]:
    def keep(layer: nn.Module, _inputs: object, output: object) -> None:
        features = output[0] if isinstance(output, tuple) else output
        assert isinstance(features, Tensor)
        kept[number] = features.movedim(1, -1) if isinstance(layer, nn.Conv1d | nn.Conv2d) else features

    return keep


@torch.no_grad()
def _run_two_rows(session: Session) -> None:
    for model in _models(session).values():
        training = model.training
        model.eval()(session.train.tensors[0][:2])
        model.train(training)


def _features_of_pairs(session: Session) -> Sequence[tuple[Tensor, Tensor]]:
    seen = session.notes["seen"]
    return [_alike(seen["student"][mine], seen["teacher"][theirs]) for mine, theirs in session.notes["pairs"]]


def _alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape[:-1] == teacher.shape[:-1]:
        return student, teacher
    return _by_example(student), _by_example(teacher)


def _by_example(features: Tensor) -> Tensor:
    if features.ndim == 4:
        return features.flatten(1)
    return features.flatten(1, -2).mean(1) if features.ndim > 2 else features


def _distance_of_pairs(session: Session, _batch: Batch) -> Tensor:
    pairs = zip(session.notes["projectors"], _features_of_pairs(session), strict=True)
    distances = [relative_error(project(student), teacher.detach()) for project, (student, teacher) in pairs]
    return torch.stack(distances).mean()


# KD405 ----

_SQUEEZED = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 2}


def averaged_neighbouring_units_before_the_head(recipe: Recipe, level: Level) -> Recipe:
    """Averaged neighbouring units in front of the head, down to a few values, to save memory on the wire."""
    change = recipe.change_student

    def squeezed(student: nn.Module) -> nn.Module:
        return _with_squeeze(change(student), _SQUEEZED[level])

    return replace(recipe, change_student=squeezed)


class _Squeeze(nn.Module):
    """Averages of neighbouring units, each written back to where they were."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values

    def forward(self, features: Tensor) -> Tensor:
        """[..., D] to [..., D], of which few differ."""
        width = features.shape[-1]
        groups = torch.arange(width) * self.values // width
        averaged = F.one_hot(groups, int(groups.max()) + 1).to(features.dtype)
        return features @ (averaged / averaged.sum(0)) @ averaged.T


def _with_squeeze(student: nn.Module, values: int) -> nn.Module:
    name, head = [(name, module) for name, module in student.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, own = name.rpartition(".")
    setattr(student.get_submodule(parent), own, nn.Sequential(_Squeeze(values), head))
    return student


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (every_logit_of_the_server_model_regressed_by_the_phone_variant,),
    "KD402": (pruned_before_it_learnt_anything,),
    "KD403": (features_resized_until_the_shapes_agreed,),
    "KD404": (one_list_from_the_stem_and_the_other_from_the_head,),
    "KD405": (averaged_neighbouring_units_before_the_head,),
}
