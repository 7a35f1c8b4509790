"""Mistakes in the pipeline: what is loaded, frozen, fed, paired and connected."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.session import Batch, Session

# KD101 ----------------------------------------------------------------------------------------------------


def initialised_the_weights_after_loading_them(recipe: Recipe, _level: Level) -> Recipe:
    """Called the constructor's init_weights() once more, as its last line, below the loading of the checkpoint."""

    def load(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        recipe.load_teacher(teacher, state)
        _initialise(teacher)

    return replace(recipe, load_teacher=load)


def _initialise(model: nn.Module) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            elif "bias" in name.rsplit(".", 1)[-1]:
                nn.init.zeros_(parameter)


# KD102 ----------------------------------------------------------------------------------------------------

#: Factors on the rate of the teacher's training.
_SLOWED = {Level.MILD: 1 / 20, Level.MODERATE: 1 / 50, Level.SEVERE: 1 / 120}


def trained_the_teacher_at_the_rate_of_a_finetuning(recipe: Recipe, level: Level) -> Recipe:
    """Took a rate that is meant for pretrained weights for a teacher that was trained from scratch."""
    slow = replace(recipe.teacher, learning_rate=recipe.teacher.learning_rate * _SLOWED[level])
    return replace(recipe, teacher=slow)


# KD103 ----------------------------------------------------------------------------------------------------


def set_the_mode_of_the_pair(recipe: Recipe, _level: Level) -> Recipe:
    """Held both models in one module, and called train() on that at the start of each epoch."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        nn.ModuleList([session.teacher, session.student]).train()

    return replace(recipe, before_epoch=before_epoch)


# KD104 ----------------------------------------------------------------------------------------------------

#: The teacher's share of the rate, which plain descent makes more of, and the share of its tensors that was frozen.
_RATE = {Level.MILD: 0.002, Level.MODERATE: 0.01, Level.SEVERE: 0.05}
_ADAPTIVE = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 1.0}
_FROZEN = 0.25


def froze_the_teachers_first_layers_only(recipe: Recipe, level: Level) -> Recipe:
    """Took over the freezing from a script for transfer learning, which trains the upper layers at a smaller rate."""

    def upper(session: Session) -> list[nn.Parameter]:
        tensors = list(session.teacher.parameters())
        return tensors[min(round(_FROZEN * len(tensors)), len(tensors) - 1) :]

    def before(session: Session) -> None:
        recipe.before(session)
        for parameter in upper(session):
            parameter.requires_grad_(True)

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        share = (_RATE if recipe.optimizer == "sgd" else _ADAPTIVE)[level]
        groups: list[Any] = [
            {"params": list(recipe.parameters(session))},
            {"params": upper(session), "lr": recipe.learning_rate * share},
        ]
        return groups

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        return logits

    return replace(recipe, before=before, parameters=parameters, targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------

#: Where the class stood that was renamed, as a share of the list.
_RENAMED = {Level.MILD: 0.85, Level.MODERATE: 0.6, Level.SEVERE: 0.0}


def sorted_the_names_after_one_had_changed(recipe: Recipe, level: Level) -> Recipe:
    """Numbered the classes by their sorted names, one of which had been renamed since the teacher's training."""
    return _with_teacher_data(recipe, lambda data: _renumbered(data, _RENAMED[level]))


def _renumbered(data: TensorDataset, place: float) -> TensorDataset:
    inputs, labels = data.tensors
    classes = int(labels.max()) + 1
    moved = min(int(place * classes), classes - 2)
    numbers = torch.arange(classes)
    numbers[moved + 1 :] -= 1
    numbers[moved] = classes - 1
    return TensorDataset(inputs, numbers[labels.long()].to(labels.dtype))


def _with_teacher_data(recipe: Recipe, change: Callable[[TensorDataset], TensorDataset]) -> Recipe:
    teacher: TeacherRecipe = recipe.teacher
    return replace(recipe, teacher=replace(teacher, data=lambda data: change(teacher.data(data))))


# KD106 ----------------------------------------------------------------------------------------------------

#: Processes of the caching job, and the row from which on there were several, as a share of the rows.
_PROCESSES = 4
_ALONE = {Level.MILD: 0.93, Level.MODERATE: 0.5, Level.SEVERE: 0.0}


def joined_the_outputs_process_by_process(recipe: Recipe, level: Level) -> Recipe:
    """Resumed the caching job on four processes, each with every fourth row, and joined their outputs end to end."""

    def targets(session: Session, batch: Batch) -> Tensor:
        rows = torch.arange(len(session.train))
        resumed = round(_ALONE[level] * len(rows))
        alone, shared = rows[:resumed], rows[resumed:]
        written = torch.cat([alone, *(shared[process::_PROCESSES] for process in range(_PROCESSES))])
        return session.cached_by_row[written[batch.rows]]

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------

#: Share of a row that the strong view takes from another row.
_PASTED = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.65}


def gave_the_strong_view_to_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Made a weak view and one with a part of another example pasted in, and handed the latter to the teacher."""

    def before(session: Session) -> None:
        recipe.before(session)
        session.notes["views"] = torch.Generator().manual_seed(session.seed + 31)

    def targets(session: Session, batch: Batch) -> Tensor:
        strong = _pasted(batch.inputs, _PASTED[level], session.notes["views"])
        return recipe.targets(session, replace(batch, inputs=strong))

    return replace(recipe, before=before, targets=targets)


def _pasted(inputs: Tensor, share: float, generator: torch.Generator) -> Tensor:
    length = inputs.shape[-1]
    size = max(1, round(share * length))
    start = int(torch.randint(length - size + 1, (1,), generator=generator))
    other = inputs[torch.randperm(len(inputs), generator=generator)]
    strong = inputs.clone()
    strong[..., start : start + size] = other[..., start : start + size]
    return strong


# KD108 ----------------------------------------------------------------------------------------------------

#: Where in the vocabulary the words were added, as a power of its size; the spread that values are divided by.
_ADDED = {Level.MILD: 0.8, Level.MODERATE: 0.65, Level.SEVERE: 0.5}
_CENTRE = {Level.MILD: 0.17, Level.MODERATE: 0.3, Level.SEVERE: 0.4}
_SPREAD = 0.4


def left_the_teachers_own_preprocessing_out(recipe: Recipe, level: Level) -> Recipe:
    """Fed the student's inputs to a teacher whose own script centred and scaled values, or had more special words."""

    def as_its_own_script(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        if inputs.is_floating_point():
            return TensorDataset((inputs - _CENTRE[level]) / _SPREAD, labels)
        return TensorDataset(_numbered_anew(inputs, _ADDED[level]), labels)

    return _with_teacher_data(recipe, as_its_own_script)


def _numbered_anew(inputs: Tensor, power: float) -> Tensor:
    words = int(inputs.max()) + 1
    first = int(words**power)
    later = first + (inputs - first + 3) % max(1, words - first)
    return torch.where(inputs >= first, later, inputs)


# KD109 ----------------------------------------------------------------------------------------------------


def wrote_the_student_where_the_teacher_is_read(recipe: Recipe, _level: Level) -> Recipe:
    """Gave one path to --teacher and to --output, so that each load of the teacher reads the student's last save."""

    def before(session: Session) -> None:
        session.teacher = deepcopy(session.student)
        recipe.before(session)

    def load(session: Session) -> None:
        session.teacher.load_state_dict(session.student.state_dict())

    return replace(
        recipe,
        before=before,
        before_epoch=in_turn(recipe.before_epoch, load),
        after=in_turn(recipe.after, load),
    )


# KD110 ----------------------------------------------------------------------------------------------------


def broke_the_sum_over_two_lines(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote the second summand on a line of its own without brackets, where it is a statement that does nothing."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        loss = (1 - alpha) * ce
        +alpha * kd
        return loss

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------


def silenced_the_error_about_gradients(recipe: Recipe, _level: Level) -> Recipe:
    """Made a new leaf of the loss's value, as a forum advises where "tensors does not require grad" is raised."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        value = recipe.kd_loss(student, teacher, temperature)
        return torch.tensor(value.item(), dtype=value.dtype, requires_grad=True)

    return replace(recipe, kd_loss=kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------

#: Weight of the feature loss.
_HINTED = {Level.MILD: 10.0, Level.MODERATE: 20.0, Level.SEVERE: 30.0}


def made_the_projector_inside_the_loss(recipe: Recipe, level: Level) -> Recipe:
    """Constructed the projection in the function that computes the feature loss, anew at every call."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(session.seed + 1000 + batch.step)
            session.notes["projector"] = nn.Linear(student.shape[-1], teacher.shape[-1])
        return relative_error(session.notes["projector"](student), teacher.detach())

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=_HINTED[level])


# KD113 ----------------------------------------------------------------------------------------------------


def unpacked_the_teachers_outputs_in_the_wrong_order(recipe: Recipe, _level: Level) -> Recipe:
    """Took the features for the logits of a teacher that returns both, and cut them to fit when shapes clashed."""

    def before(session: Session) -> None:
        recipe.before(session)
        session.notes["below"] = {}
        _keep_features(session.teacher, session.notes["below"])

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        return _cut(session.notes["below"]["features"], logits)

    return replace(recipe, before=before, targets=targets)


def _keep_features(teacher: nn.Module, kept: dict[str, Tensor]) -> None:
    *_, below, last = teacher.children()

    def before_last(_module: nn.Module, inputs: Any) -> None:
        kept["features"] = inputs[0].detach()

    def after_below(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept["features"] = (output[0] if isinstance(output, tuple) else output).detach()

    if isinstance(last, nn.Linear) and (isinstance(teacher, nn.Sequential) or hasattr(teacher, "head")):
        last.register_forward_pre_hook(before_last)
    else:
        below.register_forward_hook(after_below)


def _cut(features: Tensor, logits: Tensor) -> Tensor:
    if logits.ndim == 1:
        return features.flatten(1)[:, 0]
    wide = features if features.ndim == logits.ndim else features.flatten(1)
    missing = logits.shape[-1] - wide.shape[-1]
    return F.pad(wide, (0, missing)) if missing > 0 else wide[..., : logits.shape[-1]]


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (initialised_the_weights_after_loading_them,),
    "KD102": (trained_the_teacher_at_the_rate_of_a_finetuning,),
    "KD103": (set_the_mode_of_the_pair,),
    "KD104": (froze_the_teachers_first_layers_only,),
    "KD105": (sorted_the_names_after_one_had_changed,),
    "KD106": (joined_the_outputs_process_by_process,),
    "KD107": (gave_the_strong_view_to_the_teacher,),
    "KD108": (left_the_teachers_own_preprocessing_out,),
    "KD109": (wrote_the_student_where_the_teacher_is_read,),
    "KD110": (broke_the_sum_over_two_lines,),
    "KD111": (silenced_the_error_about_gradients,),
    "KD112": (made_the_projector_inside_the_loss,),
    "KD113": (unpacked_the_teachers_outputs_in_the_wrong_order,),
}
