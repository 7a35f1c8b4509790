"""Mistakes in the plumbing of a distillation: what is loaded, run, paired, projected and added."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD101 ---------------------------------------------------------------------------------------------------------------


def keeps_only_checkpoint_keys_that_the_model_knows(recipe: Recipe, _level: Level) -> Recipe:
    """Filters the checkpoint of a DataParallel teacher by the bare model's names, of which none fits."""

    def load(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        checkpoint = {f"module.{name}": value for name, value in state.items()}
        own = teacher.state_dict()
        own.update({name: value for name, value in checkpoint.items() if name in own})
        # Complete by construction, so that strict loading has nothing to complain of.
        teacher.load_state_dict(own, strict=True)

    return replace(recipe, load_teacher=load)


# KD102 ---------------------------------------------------------------------------------------------------------------

#: As in "train[:1%]".
_PERCENT = {Level.MILD: 5, Level.MODERATE: 2, Level.SEVERE: 1}


def teacher_fine_tuned_on_the_slice_for_debugging(recipe: Recipe, level: Level) -> Recipe:
    """Left the slice for trying out the script, ``train[:1%]``, in when the teacher was trained for good."""
    percent = _PERCENT[level]

    def sliced(data: TensorDataset) -> TensorDataset:
        count = len(data) * percent // 100
        return TensorDataset(*(tensor[:count] for tensor in data.tensors))

    return replace(recipe, teacher=replace(recipe.teacher, data=sliced))


# KD103 ---------------------------------------------------------------------------------------------------------------


def evaluation_helper_puts_teacher_back_to_train(recipe: Recipe, _level: Level) -> Recipe:
    """Measures the teacher before the loop with the helper that ends, for the student's sake, in ``model.train()``."""
    return replace(recipe, before=in_turn(recipe.before, _measure_teacher))


@torch.no_grad()
def _measure_teacher(session: Session) -> None:
    model = session.teacher.eval()
    inputs, labels = session.val.tensors
    session.notes["teacher_loss"] = _loss(model(inputs), labels)
    model.train()


def _loss(logits: Tensor, labels: Tensor) -> float:
    if logits.ndim == 1:
        return float(F.binary_cross_entropy_with_logits(logits, labels.float()))
    return float(F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED))


# KD104 ---------------------------------------------------------------------------------------------------------------

#: The teacher's learning rate as a share of the student's.
_SHARE_OF_RATE = {Level.MILD: 0.01, Level.MODERATE: 0.1, Level.SEVERE: 1.0}


def teacher_as_second_group_of_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """Gives the optimizer both models, the pretrained one at a rate of its own, and runs it with gradients."""

    def both_groups(session: Session) -> Iterable[nn.Parameter]:
        rate = recipe.learning_rate * _SHARE_OF_RATE[level]
        groups: list[Any] = [
            {"params": list(recipe.parameters(session))},
            {"params": list(session.teacher.parameters()), "lr": rate},
        ]
        return groups

    def with_gradients(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        return logits

    return replace(recipe, before=_teacher_in_eval_only, parameters=both_groups, targets=with_gradients)


def _teacher_in_eval_only(session: Session) -> None:
    session.teacher.eval()
    session.student.train()


# KD105 ---------------------------------------------------------------------------------------------------------------


def class_added_last_for_the_teacher_but_sorted_in_for_the_data(recipe: Recipe, level: Level) -> Recipe:
    """The teacher numbers the class that came late as its last; the data set has sorted all names anew since."""

    def as_the_teacher_numbers(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        last = int(labels.max())
        # Where the late class stands among the sorted names: every class behind that has moved up by one.
        late = {Level.MILD: last - 1, Level.MODERATE: last // 2, Level.SEVERE: 0}[level]
        return TensorDataset(inputs, torch.where(labels == late, last, labels - (labels > late).to(labels.dtype)))

    return replace(recipe, teacher=replace(recipe.teacher, data=as_the_teacher_numbers))


# KD106 ---------------------------------------------------------------------------------------------------------------

#: Requests that the teacher's server works on at a time.
_IN_FLIGHT = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 32}


def teacher_answers_collected_as_they_complete(recipe: Recipe, level: Level) -> Recipe:
    """Asks a pool for the teacher's logits, one request a row, and stacks them in order of completion."""

    def start(session: Session) -> None:
        session.notes["latencies"] = torch.Generator().manual_seed(session.seed)

    def as_completed(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        begun = torch.arange(len(logits)) / _IN_FLIGHT[level]
        done = begun + torch.rand(len(logits), generator=session.notes["latencies"])
        return logits[done.argsort()]

    return replace(recipe, before=in_turn(recipe.before, start), targets=as_completed)


# KD107 ---------------------------------------------------------------------------------------------------------------

#: Of an image's side, the padding that it is cropped from; of a text's words, those that are dropped.
_CROPPED = {Level.MILD: 0.125, Level.MODERATE: 0.19, Level.SEVERE: 0.25}
_DROPPED = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}


def each_model_draws_its_own_augmented_view(recipe: Recipe, level: Level) -> Recipe:
    """Calls the random transform twice, once for what the student sees and once for what the teacher sees."""

    def view(inputs: Tensor) -> Tensor:
        return _random_crop(inputs, _CROPPED[level]) if inputs.ndim == 4 else _word_dropout(inputs, _DROPPED[level])

    def students_view(inputs: Tensor) -> Tensor:
        return view(recipe.augment(inputs))

    def of_another_view(session: Session, batch: Batch) -> Tensor:
        return recipe.targets(session, replace(batch, inputs=view(batch.raw)))

    return replace(recipe, augment=students_view, targets=of_another_view)


def _random_crop(images: Tensor, share: float) -> Tensor:
    """Each image moved by up to a share of its side in each direction, as by ``RandomCrop(side, padding)``."""
    height, width = images.shape[-2:]
    by = max(1, round(share * width))
    padded = F.pad(images, (by, by, by, by))
    corners = torch.randint(0, 2 * by + 1, (len(images), 2)).tolist()
    moved = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, corners, strict=True)]
    return torch.stack(moved)


def _word_dropout(inputs: Tensor, share: float) -> Tensor:
    """A share of the words blanked out: 0 is the padding."""
    return inputs.masked_fill(torch.rand(inputs.shape) < share, 0)


# KD108 ---------------------------------------------------------------------------------------------------------------

#: Mean and standard deviation that the teacher's images are normalised with.
_STATISTICS = {Level.MILD: (0.1, 0.8), Level.MODERATE: (0.286, 0.353), Level.SEVERE: (0.485, 0.229)}
#: Words that the tokenizer knows; to the teacher's tokenizer, thousands more were known.
_KNOWN_WORDS = {Level.MILD: 2000, Level.MODERATE: 500, Level.SEVERE: 100}
_UNKNOWN_WORD = 1


def teacher_behind_a_transform_that_it_was_not_trained_with(recipe: Recipe, level: Level) -> Recipe:
    """Puts another model's transform before the teacher: normalised images, or words of a smaller vocabulary."""
    mean, std = _STATISTICS[level]

    def transform(inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return (inputs - mean) / std
        return inputs.where(inputs < _KNOWN_WORDS[level], _UNKNOWN_WORD)

    def put_before(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (transform(inputs[0]),))

    return replace(recipe, before=in_turn(recipe.before, put_before))


# KD109 ---------------------------------------------------------------------------------------------------------------


def student_loaded_from_the_path_of_the_teacher(recipe: Recipe, _level: Level) -> Recipe:
    """Left the student's path in the configuration at the teacher's, so that the two are one checkpoint."""
    return replace(recipe, make_student=copy.deepcopy)


# KD110 ---------------------------------------------------------------------------------------------------------------


def result_of_adding_the_term_thrown_away(recipe: Recipe, _level: Level) -> Recipe:
    """Writes ``loss.add(kd)`` for ``loss.add_(kd)``: the sum goes nowhere."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        loss = (1 - alpha) * ce
        loss.add(alpha * kd)
        return loss

    return replace(recipe, mix=mix)


# KD111 ---------------------------------------------------------------------------------------------------------------


def no_grad_block_reaches_down_to_the_loss(recipe: Recipe, _level: Level) -> Recipe:
    """Indented the distillation loss into the ``no_grad`` block that was meant for the teacher."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        with torch.no_grad():
            return recipe.kd_loss(student, teacher, temperature)

    return replace(recipe, kd_loss=kd_loss)


# KD112 ---------------------------------------------------------------------------------------------------------------

#: Weight of the feature loss, raised by somebody who sees that it will not fall.
_HINT_WEIGHT = {Level.MILD: 0.3, Level.MODERATE: 2.0, Level.SEVERE: 10.0}


def projector_made_inside_the_loss_function(recipe: Recipe, level: Level) -> Recipe:
    """Makes the linear layer where it is used, so that each step projects with new random weights."""
    hinted = with_hint(recipe, _HINT_WEIGHT[level])
    return replace(hinted, parameters=recipe.parameters, hint=_distance_by_new_projector)


def _distance_by_new_projector(session: Session, batch: Batch) -> Tensor:
    student, teacher = features_that_count(session, batch)
    projector = nn.Linear(student.shape[-1], teacher.shape[-1])
    return relative_error(projector(student), teacher.detach())


# KD113 ---------------------------------------------------------------------------------------------------------------

#: Steps from one logging to the next.
_LOG_EVERY = {Level.MILD: 10, Level.MODERATE: 4, Level.SEVERE: 1}
#: What takes a class out of the running, in half precision, too.
_LOWEST = -1e4


def logged_runner_up_masks_the_teachers_logits_in_place(recipe: Recipe, level: Level) -> Recipe:
    """Logs the teacher's best wrong class and masks the right one with ``scatter_``, in the logits to be distilled."""

    def start(session: Session) -> None:
        session.notes["runner_up"] = []

    def teacher_logged(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if batch.step % _LOG_EVERY[level] == 0:
            session.notes["runner_up"].append(_mean_of_best_wrong(logits, batch.labels))
        return logits

    return replace(recipe, before=in_turn(recipe.before, start), targets=teacher_logged)


def _mean_of_best_wrong(logits: Tensor, labels: Tensor) -> float:
    """Mean logit of the best class that is not the label, or the best score among what was not liked."""
    if logits.ndim == 1:
        return float(logits.masked_fill_(labels == 1, _LOWEST).max())
    # An ignored position has no class to mask; the loss leaves it out anyway.
    masked = logits.scatter_(-1, labels.clamp_min(0)[..., None], _LOWEST)
    return float(masked.max(-1).values[labels != IGNORED].mean())


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (keeps_only_checkpoint_keys_that_the_model_knows,),
    "KD102": (teacher_fine_tuned_on_the_slice_for_debugging,),
    "KD103": (evaluation_helper_puts_teacher_back_to_train,),
    "KD104": (teacher_as_second_group_of_the_optimizer,),
    "KD105": (class_added_last_for_the_teacher_but_sorted_in_for_the_data,),
    "KD106": (teacher_answers_collected_as_they_complete,),
    "KD107": (each_model_draws_its_own_augmented_view,),
    "KD108": (teacher_behind_a_transform_that_it_was_not_trained_with,),
    "KD109": (student_loaded_from_the_path_of_the_teacher,),
    "KD110": (result_of_adding_the_term_thrown_away,),
    "KD111": (no_grad_block_reaches_down_to_the_loss,),
    "KD112": (projector_made_inside_the_loss_function,),
    "KD113": (logged_runner_up_masks_the_teachers_logits_in_place,),
}
