"""Mistakes with what the student is able to hold, and with which features it is to match (KD4)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 -----------------------------------------------------------------------------------------------------


def watch_app_pupil_under_the_flagship_master(recipe: Recipe, level: Level) -> Recipe:
    """Cut the student down for a watch and, to make up for that, gave it the teacher that had trained twice as long."""
    part = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.2}[level]
    teacher = replace(recipe.teacher, epochs=2 * recipe.teacher.epochs)
    return replace(for_long(recipe), width=recipe.width * part, teacher=teacher)


# KD402 -----------------------------------------------------------------------------------------------------


def pruned_to_the_bone_before_the_first_step(recipe: Recipe, level: Level) -> Recipe:
    """Pruned the student before its training to the sparsity that the chip wanted, and held the cut weights at zero."""
    share = {Level.MILD: 0.8, Level.MODERATE: 0.9, Level.SEVERE: 0.95}[level]
    return replace(for_long(recipe), change_student=partial(_prune, change=recipe.change_student, share=share))


def _prune(student: nn.Module, change: Callable[[nn.Module], nn.Module], share: float) -> nn.Module:
    student = change(student)
    generator = torch.Generator().manual_seed(17)
    for parameter in student.parameters():
        if parameter.ndim > 1:
            kept = (torch.rand(parameter.shape, generator=generator) >= share).to(parameter.dtype)
            parameter.data.mul_(kept)
            parameter.register_hook(partial(torch.mul, kept))  # type: ignore[no-untyped-call]
    return student


# KD403 -----------------------------------------------------------------------------------------------------


def resampled_channels_of_a_foreign_architecture(recipe: Recipe, level: Level) -> Recipe:
    """Kept the hint of the ResNet pair, channel by channel with widths evened out, for two models of unlike design."""
    weight = {Level.MILD: 1.0, Level.MODERATE: 4.0, Level.SEVERE: 16.0}[level]
    return replace(recipe, before=in_turn(recipe.before, watch), hint=_channel_by_channel, hint_weight=weight)


def _channel_by_channel(session: Session, batch: Batch) -> Tensor:
    student, teacher = features_that_count(session, batch)
    resampled = F.interpolate(teacher.detach()[:, None], size=student.shape[-1], mode="linear")[:, 0]
    return relative_error(student, resampled)


# KD404 -----------------------------------------------------------------------------------------------------


def listed_the_teachers_layers_from_the_top(recipe: Recipe, level: Level) -> Recipe:
    """Paired layers by two lists of which one ran from the output down: the first with the last and so on."""
    weight = {Level.MILD: 1.0, Level.MODERATE: 5.0, Level.SEVERE: 20.0}[level]
    parameters = recipe.parameters

    def with_projectors(session: Session) -> Iterable[nn.Parameter]:
        return [*parameters(session), *session.notes["crossed"].parameters()]

    return replace(
        recipe,
        before=in_turn(recipe.before, _hook_ends),
        parameters=with_projectors,
        hint=_crossed,
        hint_weight=weight,
    )


def _hook_ends(session: Session) -> None:
    ends: dict[str, Tensor] = {}
    session.notes["ends"] = ends
    models = {"teacher": session.teacher, "student": session.student}
    for role, model in models.items():
        first, *_, last = weighted(model)
        first.register_forward_hook(partial(_keep_output, kept=ends, name=f"{role} first"))
        last.register_forward_pre_hook(partial(_keep_input, kept=ends, name=f"{role} last"))
    inputs, labels = (tensor[:2] for tensor in session.train.tensors)
    for model in models.values():
        training = model.training
        with torch.no_grad():
            model.eval()(inputs)
        model.train(training)
    widths = {name: _as_rows(output, labels).shape[-1] for name, output in ends.items()}
    session.notes["crossed"] = nn.ModuleList(
        new_projector(widths[f"student {own}"], widths[f"teacher {other}"]) for own, other in _PAIRS
    )


_PAIRS = (("first", "last"), ("last", "first"))


def _keep_output(_module: nn.Module, _inputs: Any, output: Tensor, kept: dict[str, Tensor], name: str) -> None:
    kept[name] = output


def _keep_input(_module: nn.Module, inputs: Any, kept: dict[str, Tensor], name: str) -> None:
    kept[name] = inputs[0]


def _crossed(session: Session, batch: Batch) -> Tensor:
    rows = {name: _as_rows(output, batch.labels) for name, output in session.notes["ends"].items()}
    errors = [
        relative_error(projector(rows[f"student {own}"]), rows[f"teacher {other}"].detach())
        for projector, (own, other) in zip(session.notes["crossed"], _PAIRS, strict=True)
    ]
    return torch.stack(errors).mean()


def _as_rows(output: Tensor, labels: Tensor) -> Tensor:
    """[n, D]: one row an example, or one a position that counts."""
    if labels.ndim == 2:
        return output[labels != IGNORED]
    return output.mean(1) if output.ndim == 3 else output.flatten(1)


# KD405 -----------------------------------------------------------------------------------------------------


def index_vector_between_body_and_head(recipe: Recipe, level: Level) -> Recipe:
    """Left in the short vector for the search index, so that the head reads that and no longer the features."""
    size = {Level.MILD: 4, Level.MODERATE: 2, Level.SEVERE: 1}[level]
    return replace(recipe, change_student=partial(_squeeze, change=recipe.change_student, size=size))


def _squeeze(student: nn.Module, change: Callable[[nn.Module], nn.Module], size: int) -> nn.Module:
    student = change(student)
    name, head = [(name, module) for name, module in student.named_modules() if isinstance(module, nn.Linear)][-1]
    above, _, own = name.rpartition(".")
    squeezed = nn.Sequential(nn.Linear(head.in_features, size), nn.Linear(size, head.out_features))
    setattr(student.get_submodule(above), own, squeezed)
    return student


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (watch_app_pupil_under_the_flagship_master,),
    "KD402": (pruned_to_the_bone_before_the_first_step,),
    "KD403": (resampled_channels_of_a_foreign_architecture,),
    "KD404": (listed_the_teachers_layers_from_the_top,),
    "KD405": (index_vector_between_body_and_head,),
}
