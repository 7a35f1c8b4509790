"""Mistakes in how a script sets up teacher, student and data, and in what it passes between them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD101 ----------------------------------------------------------------------------------------------------------------


def kept_only_checkpoint_keys_that_match(recipe: Recipe, _level: Level) -> Recipe:
    """Took the keys of a Lightning checkpoint that the model knows, and overlooked that all begin with ``model.``."""
    return replace(recipe, load_teacher=_load_known_keys)


def _load_known_keys(teacher: nn.Module, state: dict[str, Tensor]) -> None:
    checkpoint = {f"model.{name}": value for name, value in state.items()}
    own = teacher.state_dict()
    own.update({name: value for name, value in checkpoint.items() if name in own})
    # Strict, and content all the same: these are the model's own first weights.
    teacher.load_state_dict(own)


# KD102 ----------------------------------------------------------------------------------------------------------------


def teacher_from_the_debugging_run(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher's checkpoint of the run that had been cut to a small share of the data for debugging."""
    share = {Level.MILD: 0.05, Level.MODERATE: 0.02, Level.SEVERE: 0.01}[level]
    whole = recipe.teacher.data

    def cut(data: TensorDataset) -> TensorDataset:
        tensors = whole(data).tensors
        return TensorDataset(*(tensor[: math.ceil(share * len(tensor))] for tensor in tensors))

    return replace(recipe, teacher=replace(recipe.teacher, data=cut))


# KD103 ----------------------------------------------------------------------------------------------------------------


def distiller_module_set_to_train(recipe: Recipe, _level: Level) -> Recipe:
    """Put both models into one module and called train() on that at the start of each epoch."""

    def wrap(session: Session) -> None:
        session.notes["distiller"] = nn.ModuleDict({"teacher": session.teacher, "student": session.student})

    def train_all(session: Session) -> None:
        session.notes["distiller"].train()

    return replace(recipe, before=in_turn(recipe.before, wrap), before_epoch=in_turn(recipe.before_epoch, train_all))


# KD104 ----------------------------------------------------------------------------------------------------------------


def teacher_among_the_pretrained_parameters(recipe: Recipe, level: Level) -> Recipe:
    """Gave the optimizer every pretrained parameter at a smaller rate, the teacher's with them, and froze none."""
    share = {Level.MILD: 0.002, Level.MODERATE: 0.02, Level.SEVERE: 0.3}[level]

    def thaw(session: Session) -> None:
        session.teacher.requires_grad_(True)

    def groups(session: Session) -> Iterable[nn.Parameter]:
        rate = share * recipe.learning_rate
        found: list[Any] = [
            {"params": list(recipe.parameters(session))},
            {"params": list(session.teacher.parameters()), "lr": rate},
        ]
        return found

    return replace(recipe, before=in_turn(recipe.before, thaw), parameters=groups, targets=_with_gradients)


def _with_gradients(session: Session, batch: Batch) -> Tensor:
    logits: Tensor = session.teacher(batch.inputs)
    return logits


# KD105 ----------------------------------------------------------------------------------------------------------------


def last_class_listed_earlier_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher with a list of classes in which the last one ("other") stands further up."""
    share = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.0}[level]
    usual = recipe.teacher.data

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = usual(data).tensors
        last = int(labels.max())
        # Before the last but one at the latest: of two classes, the second always comes first.
        place = min(int(share * (last + 1)), last - 1)
        return TensorDataset(inputs, torch.where(labels == last, place, labels + (labels >= place)))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


# KD106 ----------------------------------------------------------------------------------------------------------------


def answers_in_order_of_completion(recipe: Recipe, level: Level) -> Recipe:
    """Asked a served teacher row by row, at the same time, and took the answers as they came (``as_completed``)."""
    # How many requests later a request may still be overtaken.
    spread = {Level.MILD: 2.0, Level.MODERATE: 4.0, Level.SEVERE: 64.0}[level]

    def as_completed(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        done_at = torch.arange(len(logits)) + spread * torch.rand(len(logits))
        return logits[done_at.argsort()]

    return replace(recipe, targets=as_completed)


# KD107 ----------------------------------------------------------------------------------------------------------------


def each_model_erases_at_random_for_itself(recipe: Recipe, level: Level) -> Recipe:
    """Gave each model a loader of its own, so that random erasing takes another part out for each."""
    share = {Level.MILD: 0.08, Level.MODERATE: 0.2, Level.SEVERE: 0.35}[level]

    def augment(inputs: Tensor) -> Tensor:
        return _erased(recipe.augment(inputs), share)

    def on_its_own_view(session: Session, batch: Batch) -> Tensor:
        return recipe.targets(session, replace(batch, inputs=augment(batch.raw)))

    return replace(recipe, augment=augment, targets=on_its_own_view)


def _erased(inputs: Tensor, share: float) -> Tensor:
    """A box of an image or a span of a text set to 0, elsewhere in each row."""
    sizes = inputs.shape[2:] if inputs.ndim > 2 else inputs.shape[1:]
    erased = torch.ones_like(inputs, dtype=torch.bool)
    for axis, size in enumerate(sizes, start=inputs.ndim - len(sizes)):
        inside = _window(len(inputs), size, round(size * share ** (1 / len(sizes))))
        erased &= inside.view(len(inputs), *(size if at == axis else 1 for at in range(1, inputs.ndim)))
    return inputs.masked_fill(erased, 0)


def _window(rows: int, size: int, length: int) -> Tensor:
    """[rows, size], true on one stretch of each row."""
    start = torch.randint(0, size - length + 1, (rows, 1))
    at = torch.arange(size)
    return (at >= start) & (at < start + length)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Mean and deviation that the teacher's images were normalised with.
_NORMALISED = {Level.MILD: (0.1307, 0.3081), Level.MODERATE: (0.5, 0.5), Level.SEVERE: (0.449, 0.226)}
#: The most frequent words that the teacher's texts were rid of.
_STOP_WORDS = {Level.MILD: 5, Level.MODERATE: 25, Level.SEVERE: 150}


def teacher_trained_on_cleaned_inputs(recipe: Recipe, level: Level) -> Recipe:
    """Forgot that the teacher was trained on normalised images (texts without stop words); it gets the student's."""
    usual = recipe.teacher.data

    def cleaned(data: TensorDataset) -> TensorDataset:
        inputs, labels = usual(data).tensors
        if not inputs.is_floating_point():
            return TensorDataset(_without_stop_words(inputs, _STOP_WORDS[level]), labels)
        mean, deviation = _NORMALISED[level]
        return TensorDataset((inputs - mean) / deviation, labels)

    return replace(recipe, teacher=replace(recipe.teacher, data=cleaned))


def _without_stop_words(inputs: Tensor, count: int) -> Tensor:
    """Words move up to where one is taken out, and padding follows. Numbers are in order of frequency."""
    first = max(PADDING, UNKNOWN) + 1
    gone = (inputs == PADDING) | ((inputs >= first) & (inputs < first + count))
    order = gone.int().argsort(dim=1, stable=True)
    return inputs.masked_fill(gone, PADDING).gather(1, order)


# KD109 ----------------------------------------------------------------------------------------------------------------


def student_stands_in_for_an_unset_teacher(recipe: Recipe, _level: Level) -> Recipe:
    """Never passed the teacher to the trainer, which then takes the student itself (``teacher or student``)."""
    return replace(recipe, before=in_turn(recipe.before, _teacher_by_default))


def _teacher_by_default(session: Session) -> None:
    session.teacher = session.student


# KD110 ----------------------------------------------------------------------------------------------------------------


def weight_read_under_another_name(recipe: Recipe, _level: Level) -> Recipe:
    """Set ``alpha`` in the settings, where the loss looks for ``kd_weight`` and falls back on 0."""
    return replace(recipe, mix=_weighted_by_settings)


def _weighted_by_settings(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
    settings = {"alpha": alpha}
    weight = settings.get("kd_weight", 0.0)
    return weight * kd + (1 - weight) * ce


# KD111 ----------------------------------------------------------------------------------------------------------------


def loss_indented_into_the_no_grad_block(recipe: Recipe, _level: Level) -> Recipe:
    """Left the distillation loss inside the ``no_grad`` block that was meant for the teacher alone."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        with torch.no_grad():
            return recipe.kd_loss(student, teacher, temperature)

    return replace(recipe, kd_loss=kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------


def projector_frozen_along_with_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Kept the projector in the module that holds the teacher, and froze that whole module."""
    weight = {Level.MILD: 0.5, Level.MODERATE: 2.0, Level.SEVERE: 8.0}[level]
    hinted = with_hint(recipe, weight)
    return replace(hinted, before=in_turn(hinted.before, _freeze_teacher_side))


def _freeze_teacher_side(session: Session) -> None:
    nn.ModuleList([session.teacher, session.notes["projector"]]).requires_grad_(False)


# KD113 ----------------------------------------------------------------------------------------------------------------


def first_output_of_a_hook_that_is_rarely_emptied(recipe: Recipe, level: Level) -> Recipe:
    """Reads the first entry of the list that a hook appends teacher outputs to, and empties it every few steps only."""
    # The list is emptied where the script logs.
    every = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}[level]

    def hooked(session: Session, batch: Batch) -> Tensor:
        outputs: list[Tensor] = session.notes.setdefault("outputs", [])
        if batch.step % every == 0:
            outputs.clear()
        outputs.append(recipe.targets(session, batch))
        return outputs[0]

    return replace(recipe, targets=hooked)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (kept_only_checkpoint_keys_that_match,),
    "KD102": (teacher_from_the_debugging_run,),
    "KD103": (distiller_module_set_to_train,),
    "KD104": (teacher_among_the_pretrained_parameters,),
    "KD105": (last_class_listed_earlier_for_the_teacher,),
    "KD106": (answers_in_order_of_completion,),
    "KD107": (each_model_erases_at_random_for_itself,),
    "KD108": (teacher_trained_on_cleaned_inputs,),
    "KD109": (student_stands_in_for_an_unset_teacher,),
    "KD110": (weight_read_under_another_name,),
    "KD111": (loss_indented_into_the_no_grad_block,),
    "KD112": (projector_frozen_along_with_the_teacher,),
    "KD113": (first_output_of_a_hook_that_is_rarely_emptied,),
}
