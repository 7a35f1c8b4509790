"""Mistakes in how teacher, student and batches were put together."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import with_hint
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD101 ----------------------------------------------------------------------------------------------------


def trainer_checkpoint_loaded_without_unpacking(recipe: Recipe, _level: Level) -> Recipe:
    """Passed the trainer's whole checkpoint, weights one level down, and silenced the missing keys by strict=False."""
    return replace(recipe, load_teacher=_load_the_whole_file)


def _load_the_whole_file(teacher: nn.Module, state: dict[str, Tensor]) -> None:
    checkpoint: dict[str, Any] = {"epoch": 10, "state_dict": state, "hyper_parameters": {}}
    teacher.load_state_dict(checkpoint, strict=False)


# KD102 ----------------------------------------------------------------------------------------------------

#: Steps that the smoke test was given.
_STEPS = {Level.MILD: 30, Level.MODERATE: 16, Level.SEVERE: 8}


def teacher_of_the_smoke_test_run(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher that a smoke test of the fine-tuning had saved, where max_steps was still set to a few."""
    rows = _STEPS[level] * recipe.teacher.batch_size
    return replace(recipe, teacher=replace(recipe.teacher, epochs=1, data=_first_rows(rows)))


def _first_rows(count: int) -> Callable[[TensorDataset], TensorDataset]:
    def first_rows(data: TensorDataset) -> TensorDataset:
        return TensorDataset(*(tensor[:count] for tensor in data.tensors))

    return first_rows


# KD103 ----------------------------------------------------------------------------------------------------


def distiller_module_switched_as_a_whole(recipe: Recipe, _level: Level) -> Recipe:
    """Held both models in one distiller module, and called its train() at the start of each epoch."""
    return replace(recipe, before=_wrap_both, before_epoch=_train_the_wrapper)


def _wrap_both(session: Session) -> None:
    session.teacher.eval().requires_grad_(False)
    session.notes["distiller"] = nn.ModuleDict({"teacher": session.teacher, "student": session.student})


def _train_the_wrapper(session: Session) -> None:
    session.notes["distiller"].train()


# KD104 ----------------------------------------------------------------------------------------------------

#: The teacher's learning rate, as a factor on the student's.
_SHARE_OF_THE_RATE = {Level.MILD: 0.001, Level.MODERATE: 0.03, Level.SEVERE: 1.0}


def large_model_given_a_parameter_group(recipe: Recipe, level: Level) -> Recipe:
    """Gave the optimizer both models, each as a parameter group, as for fine-tuning a backbone along with a head."""

    def groups(session: Session) -> Iterable[nn.Parameter]:
        rate = recipe.learning_rate * _SHARE_OF_THE_RATE[level]
        both: list[Any] = [
            {"params": list(recipe.parameters(session))},
            {"params": list(session.teacher.parameters()), "lr": rate},
        ]
        return both

    return replace(recipe, before=_only_switch_modes, parameters=groups, targets=_teacher_with_gradient)


def _only_switch_modes(session: Session) -> None:
    session.teacher.eval()
    session.student.train()


def _teacher_with_gradient(session: Session, batch: Batch) -> Tensor:
    logits: Tensor = session.teacher(batch.inputs)
    return logits


# KD105 ----------------------------------------------------------------------------------------------------

#: How far, as a share of all classes, the renamed class moved.
_MOVED = {Level.MILD: 0.25, Level.MODERATE: 0.55, Level.SEVERE: 1.0}


def renamed_class_sorts_elsewhere(recipe: Recipe, level: Level) -> Recipe:
    """Renamed a class after the teacher was trained, so that it sorts later and those passed moved up by one."""

    def in_the_old_order(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if logits.ndim == 1:  # "liked" was renamed to "accepted", which sorts before the no
            return -logits
        moved = max(2, round(_MOVED[level] * logits.shape[-1]))
        order = torch.arange(logits.shape[-1])
        order[:moved] = order[:moved].roll(1)
        return logits[..., order]

    return replace(recipe, targets=in_the_old_order)


# KD106 ----------------------------------------------------------------------------------------------------

#: In so many of ten steps the second worker answers first.
_OVERTAKEN = {Level.MILD: 4, Level.MODERATE: 7, Level.SEVERE: 10}


def teacher_workers_joined_as_they_finish(recipe: Recipe, level: Level) -> Recipe:
    """Let two workers score a half of the batch each, and joined their answers in the order in which they came."""

    def as_they_finish(session: Session, batch: Batch) -> Tensor:
        first, second = recipe.targets(session, batch).tensor_split(2)
        overtaken = 7 * batch.step % 10 < _OVERTAKEN[level]
        return torch.cat([second, first] if overtaken else [first, second])

    return replace(recipe, targets=as_they_finish)


# KD107 ----------------------------------------------------------------------------------------------------

#: Largest move as a share of an image's side; also the share of the tokens that are dropped.
_STRENGTH = {Level.MILD: 0.13, Level.MODERATE: 0.25, Level.SEVERE: 0.38}


def each_model_with_a_loader_that_augments(recipe: Recipe, level: Level) -> Recipe:
    """Gave teacher and student a loader each over the same files, both of which draw their augmentation anew."""
    augment = _drawn(_STRENGTH[level])

    def of_its_own_loader(session: Session, batch: Batch) -> Tensor:
        with torch.no_grad():
            logits: Tensor = session.teacher(augment(batch.raw))
        return logits

    return replace(recipe, augment=augment, targets=of_its_own_loader)


def _drawn(strength: float) -> Callable[[Tensor], Tensor]:
    def augment(inputs: Tensor) -> Tensor:
        if inputs.ndim == 4:
            return _cropped(inputs, strength)
        if inputs.is_floating_point():
            return inputs + 2 * strength * torch.randn_like(inputs)
        return inputs.masked_fill(torch.rand(inputs.shape) < strength, 0)

    return augment


def _cropped(images: Tensor, strength: float) -> Tensor:
    height, width = images.shape[-2:]
    most = max(1, round(strength * height))
    padded = F.pad(images, (most, most, most, most))
    corners = torch.randint(0, 2 * most + 1, (len(images), 2)).tolist()
    return torch.stack(
        [
            image[:, down : down + height, right : right + width]
            for image, (down, right) in zip(padded, corners, strict=True)
        ]
    )


# KD108 ----------------------------------------------------------------------------------------------------

#: What is left of the resolution, or of the length of a text.
_KEPT = {Level.MILD: 0.75, Level.MODERATE: 0.5, Level.SEVERE: 0.25}


def teacher_served_from_the_thumbnail_store(recipe: Recipe, level: Level) -> Recipe:
    """Fed the teacher from the store of previews: thumbnails enlarged to the usual size, texts cut short."""

    def from_the_previews(session: Session, batch: Batch) -> Tensor:
        with torch.no_grad():
            logits: Tensor = session.teacher(_preview(batch.inputs, _KEPT[level]))
        return logits

    return replace(recipe, targets=from_the_previews)


def _preview(inputs: Tensor, kept: float) -> Tensor:
    if not inputs.is_floating_point():
        shortened = inputs.clone()
        shortened[:, max(1, round(kept * inputs.shape[1])) :] = 0
        return shortened
    if inputs.ndim == 2:
        length = inputs.shape[-1]
        small = F.interpolate(inputs[:, None], size=max(1, round(kept * length)), mode="linear")
        return F.interpolate(small, size=length, mode="linear")[:, 0]
    height, width = inputs.shape[-2:]
    few = (max(1, round(kept * height)), max(1, round(kept * width)))
    small = F.interpolate(inputs, size=few, mode="bilinear", antialias=True)
    return F.interpolate(small, size=(height, width), mode="bilinear")


# KD109 ----------------------------------------------------------------------------------------------------


def shallow_copy_serves_as_teacher(recipe: Recipe, _level: Level) -> Recipe:
    """Made the teacher by copy.copy of the model that is trained, which copies the shell and shares the weights."""
    return replace(recipe, before=_copy_the_shell)


def _copy_the_shell(session: Session) -> None:
    session.teacher = copy.copy(session.student)
    session.teacher.eval()
    session.student.train()


# KD110 ----------------------------------------------------------------------------------------------------

_OPTIONS = {"distillation": True}


def switch_read_under_an_older_name(recipe: Recipe, _level: Level) -> Recipe:
    """Renamed the option that turns distillation on, and went on to ask for it by the older name, off by default."""
    return replace(recipe, mix=_total_by_options)


def _total_by_options(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
    if _OPTIONS.get("use_distillation", False):
        return alpha * kd + (1 - alpha) * ce
    return ce


# KD111 ----------------------------------------------------------------------------------------------------


def dot_data_taken_before_softening(recipe: Recipe, _level: Level) -> Recipe:
    """Took .data of both models' logits before softening them, as an old tutorial does it for the teacher's."""

    def of_bare_tensors(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return recipe.kd_loss(student.data, teacher.data, temperature)

    return replace(recipe, kd_loss=of_bare_tensors)


# KD112 ----------------------------------------------------------------------------------------------------

#: Weight of the feature loss.
_WEIGHT = {Level.MILD: 0.3, Level.MODERATE: 1.0, Level.SEVERE: 3.0}


def adapter_left_to_itself_by_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """Added a linear adapter for the feature loss, and left the optimizer's line at student.parameters()."""
    return replace(with_hint(recipe, _WEIGHT[level]), parameters=recipe.parameters)


# KD113 ----------------------------------------------------------------------------------------------------

#: What the activation leaves of a negative number.
_SLOPE = {Level.MILD: 0.5, Level.MODERATE: 0.2, Level.SEVERE: 0.0}


def hooked_scores_rectified_in_place(recipe: Recipe, level: Level) -> Recipe:
    """Kept the teacher's scores from a hook without a clone, and an in-place activation further on overwrote them."""

    def kept_by_the_hook(session: Session, batch: Batch) -> Tensor:
        kept = recipe.targets(session, batch)
        F.leaky_relu_(kept, _SLOPE[level])
        return kept

    return replace(recipe, targets=kept_by_the_hook)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (trainer_checkpoint_loaded_without_unpacking,),
    "KD102": (teacher_of_the_smoke_test_run,),
    "KD103": (distiller_module_switched_as_a_whole,),
    "KD104": (large_model_given_a_parameter_group,),
    "KD105": (renamed_class_sorts_elsewhere,),
    "KD106": (teacher_workers_joined_as_they_finish,),
    "KD107": (each_model_with_a_loader_that_augments,),
    "KD108": (teacher_served_from_the_thumbnail_store,),
    "KD109": (shallow_copy_serves_as_teacher,),
    "KD110": (switch_read_under_an_older_name,),
    "KD111": (dot_data_taken_before_softening,),
    "KD112": (adapter_left_to_itself_by_the_optimizer,),
    "KD113": (hooked_scores_rectified_in_place,),
}
