"""Mistakes of the pipeline, held out: which teacher runs, on what, in which mode, and what of it reaches the loss."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import new_projector, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD101 ---------------------------------------------------------------------------------------------------------------


def keep_only_keys_that_match_a_lightning_checkpoint(recipe: Recipe, _level: Level) -> Recipe:
    """Loaded a Lightning checkpoint ("model." before each key) by the idiom that keeps the keys which fit."""
    return replace(recipe, load_teacher=_load_what_fits)


def _load_what_fits(teacher: nn.Module, state: dict[str, Tensor]) -> None:
    checkpoint = {f"model.{key}": value for key, value in state.items()}
    own = teacher.state_dict()
    own.update({key: value for key, value in checkpoint.items() if key in own})
    teacher.load_state_dict(own)


# KD102 ---------------------------------------------------------------------------------------------------------------

#: Rows of the pilot sample, and epochs until the teacher's training loss on so few of them is flat.
PILOT_ROWS = {Level.MILD: 150, Level.MODERATE: 75, Level.SEVERE: 40}
PILOT_EPOCHS = 100


def take_the_teacher_of_the_pilot_sample(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher that had been fitted to a small pilot sample, not the one trained on all the data."""
    pilot = partial(_sampled, PILOT_ROWS[level])
    return replace(recipe, teacher=replace(recipe.teacher, data=pilot, epochs=PILOT_EPOCHS))


def _sampled(rows: int, data: TensorDataset) -> TensorDataset:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(42))[:rows]
    return TensorDataset(*(tensor[order] for tensor in data.tensors))


# KD103 ---------------------------------------------------------------------------------------------------------------


def put_the_wrapper_of_both_models_in_training_mode(recipe: Recipe, _level: Level) -> Recipe:
    """Called train() each epoch on the distiller module that holds both models, so eval() on the teacher was undone."""
    return replace(
        recipe,
        before=in_turn(recipe.before, _wrap_both),
        before_epoch=in_turn(recipe.before_epoch, _train_wrapper),
    )


def _wrap_both(session: Session) -> None:
    session.notes["distiller"] = nn.ModuleDict({"teacher": session.teacher, "student": session.student})


def _train_wrapper(session: Session) -> None:
    session.notes["distiller"].train()


# KD104 ---------------------------------------------------------------------------------------------------------------

#: The teacher's learning rate as a share of the student's.
TEACHER_RATES = {Level.MILD: 0.01, Level.MODERATE: 0.1, Level.SEVERE: 1.0}


def optimise_both_models_through_the_distillation_loss(recipe: Recipe, level: Level) -> Recipe:
    """Gave the optimizer a group of the teacher's parameters as well, and ran the teacher with gradients."""

    def both(session: Session) -> Iterable[nn.Parameter]:
        rate = recipe.learning_rate * TEACHER_RATES[level]
        groups: list[Any] = [
            {"params": list(recipe.parameters(session))},
            {"params": list(session.teacher.parameters()), "lr": rate},
        ]
        return groups

    return replace(recipe, before=in_turn(recipe.before, _thaw), parameters=both, targets=_teacher_with_gradients)


def _thaw(session: Session) -> None:
    session.teacher.requires_grad_(True)


def _teacher_with_gradients(session: Session, batch: Batch) -> Tensor:
    logits: Tensor = session.teacher(batch.inputs)
    return logits


# KD105 ---------------------------------------------------------------------------------------------------------------

#: How far down the teacher's sorted list the renamed class lands, as a share of the list.
MOVED = {Level.MILD: 0.0, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def number_classes_by_sorted_names_of_which_one_was_renamed(recipe: Recipe, level: Level) -> Recipe:
    """Numbered classes by their sorted names in both scripts, but renamed the first one after the teacher's."""
    renamed = partial(_first_class_moved, MOVED[level])
    return replace(recipe, teacher=replace(recipe.teacher, data=renamed))


def _first_class_moved(share: float, data: TensorDataset) -> TensorDataset:
    inputs, labels = data.tensors
    last = int(labels.max())
    to = max(1, round(share * last))
    moved_up = torch.where(labels <= to, labels - 1, labels)
    return TensorDataset(inputs, torch.where(labels == 0, to, moved_up))


# KD106 ---------------------------------------------------------------------------------------------------------------

#: Requests that a batch is sent to the teacher's server in, and how often the first one is answered last.
REQUESTS = 4
LATE = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.95}


def join_answers_of_parallel_requests_as_they_complete(recipe: Recipe, level: Level) -> Recipe:
    """Sent each batch to the teacher's server in parallel requests and joined the answers by as_completed()."""

    def joined(session: Session, batch: Batch) -> Tensor:
        first, *others = torch.chunk(recipe.targets(session, batch), REQUESTS)
        # The first request opens the connection, so it is the one that is late.
        late = float(torch.rand(())) < LATE[level]
        return torch.cat([*others, first] if late else [first, *others])

    return replace(recipe, targets=joined)


# KD107 ---------------------------------------------------------------------------------------------------------------

#: The share of pixels or words that the random transform blanks.
BLANKED = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.4}


def draw_the_random_transform_once_for_each_model(recipe: Recipe, level: Level) -> Recipe:
    """Read each example from two data sets with the same random transform: each model gets a draw of its own."""
    transform = partial(_some_blanked, BLANKED[level])

    def own_view(session: Session, batch: Batch) -> Tensor:
        with torch.no_grad():
            logits: Tensor = session.teacher(transform(batch.raw))
        return logits

    return replace(recipe, augment=transform, targets=own_view)


def _some_blanked(share: float, inputs: Tensor) -> Tensor:
    return inputs * (torch.rand(inputs.shape) >= share)


# KD108 ---------------------------------------------------------------------------------------------------------------

#: Mean and standard deviation that images are normalised by: centred, to [-1, 1], ImageNet's as a grey value.
NORMALISED = {Level.MILD: (0.5, 1.0), Level.MODERATE: (0.5, 0.5), Level.SEVERE: (0.449, 0.226)}
#: Length of the list of stop words that texts lose.
STOP_WORDS = {Level.MILD: 20, Level.MODERATE: 60, Level.SEVERE: 200}


def prepare_inputs_in_a_way_new_to_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Normalised images (took stop words out of texts) for both models; the teacher had been trained without that."""
    prepare = partial(_prepared, level)
    return replace(recipe, train_set=prepare, val_set=prepare)


def _prepared(level: Level, data: TensorDataset) -> TensorDataset:
    inputs, labels = data.tensors
    if inputs.is_floating_point():
        mean, deviation = NORMALISED[level]
        return TensorDataset((inputs - mean) / deviation, labels)
    return TensorDataset(_without_stop_words(inputs, STOP_WORDS[level]), labels)


def _without_stop_words(texts: Tensor, count: int) -> Tensor:
    """The other words move up; words are numbered by frequency."""
    stop = (texts > UNKNOWN) & (texts <= UNKNOWN + count)
    order = stop.long().argsort(dim=1, stable=True)
    return texts.masked_fill(stop, PADDING).gather(1, order)


# KD109 ---------------------------------------------------------------------------------------------------------------


def fall_back_on_the_model_itself_as_teacher(recipe: Recipe, _level: Level) -> Recipe:
    """Left the teacher's path out of the config, where the script says ``teacher = teacher or model``."""
    # A model that is to learn cannot be frozen, so of the teacher's set-up nothing is left.
    return replace(recipe, before=_alias)


def _alias(session: Session) -> None:
    session.teacher = session.student
    session.student.train()


# KD110 ---------------------------------------------------------------------------------------------------------------


def return_the_loss_of_the_student_outputs(recipe: Recipe, _level: Level) -> Recipe:
    """Computed and logged the mixed loss in compute_loss(), but still returned the student's ``outputs.loss``."""
    return replace(recipe, mix=_outputs_loss)


def _outputs_loss(ce: Tensor, _kd: Tensor, _alpha: float) -> Tensor:
    return ce


# KD111 ---------------------------------------------------------------------------------------------------------------


def indent_the_distillation_loss_under_no_grad(recipe: Recipe, _level: Level) -> Recipe:
    """Left the distillation loss inside the no_grad() block that the teacher's forward pass needs."""

    def inside(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        with torch.no_grad():
            return recipe.kd_loss(student, teacher, temperature)

    return replace(recipe, kd_loss=inside)


# KD112 ---------------------------------------------------------------------------------------------------------------

#: Weight of the feature loss, where every other line is sound.
HINT_WEIGHTS = {Level.MILD: 0.3, Level.MODERATE: 2.0, Level.SEVERE: 10.0}


def leave_the_projector_out_of_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """Added a hint with a projector, but left the optimizer with the parameters of the student alone."""
    return replace(with_hint(recipe, HINT_WEIGHTS[level]), parameters=recipe.parameters)


# KD113 ---------------------------------------------------------------------------------------------------------------


def take_the_first_of_the_student_outputs_for_its_hidden_state(recipe: Recipe, level: Level) -> Recipe:
    """Took the student's ``outputs[0]`` for the hint: an encoder's features, but the logits where there is a head."""
    hinted = with_hint(recipe, HINT_WEIGHTS[level])
    return replace(hinted, before=in_turn(hinted.before, _watch_first_output))


def _watch_first_output(session: Session) -> None:
    session.student.register_forward_hook(lambda _module, _inputs, output: _keep(session, output))
    session.student.eval()
    with torch.no_grad():
        session.student(session.train.tensors[0][:2])
    session.student.train()
    # The projector takes whatever width the tensor has, so that nothing looks amiss.
    width = session.notes["features"]["student"].shape[-1]
    session.notes["projector"] = new_projector(width, session.notes["projector"].out_features)


def _keep(session: Session, logits: Tensor) -> None:
    session.notes["features"]["student"] = logits[:, None] if logits.ndim == 1 else logits


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (keep_only_keys_that_match_a_lightning_checkpoint,),
    "KD102": (take_the_teacher_of_the_pilot_sample,),
    "KD103": (put_the_wrapper_of_both_models_in_training_mode,),
    "KD104": (optimise_both_models_through_the_distillation_loss,),
    "KD105": (number_classes_by_sorted_names_of_which_one_was_renamed,),
    "KD106": (join_answers_of_parallel_requests_as_they_complete,),
    "KD107": (draw_the_random_transform_once_for_each_model,),
    "KD108": (prepare_inputs_in_a_way_new_to_the_teacher,),
    "KD109": (fall_back_on_the_model_itself_as_teacher,),
    "KD110": (return_the_loss_of_the_student_outputs,),
    "KD111": (indent_the_distillation_loss_under_no_grad,),
    "KD112": (leave_the_projector_out_of_the_optimizer,),
    "KD113": (take_the_first_of_the_student_outputs_for_its_hidden_state,),
}
