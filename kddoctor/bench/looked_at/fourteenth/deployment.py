"""Mistakes of the deployment, held out: which weights are shipped, what feeds them, and what they were to reach."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session

# KD701 ---------------------------------------------------------------------------------------------------------------

#: How often a run is validated, as a share of its epochs; once an epoch where none is named.
VALIDATED = {Level.MILD: 0.25, Level.MODERATE: 0.1, Level.SEVERE: 0.0}


def keep_the_best_accuracy_in_mode_min(recipe: Recipe, level: Level) -> Recipe:
    """Let the checkpoint callback watch the accuracy in its default mode, "min", and exported its best checkpoint."""
    every = max(1, round(VALIDATED[level] * recipe.epochs))

    def validate(session: Session) -> None:
        done = session.notes["epochs_done"] = session.notes.get("epochs_done", -1) + 1
        # Before the first epoch there is nothing to validate yet.
        if done and done % every == 0:
            _keep_if_lower(session)

    def export(session: Session) -> None:
        validate(session)
        session.student.load_state_dict(session.notes["best"])

    return replace(recipe, before_epoch=in_turn(validate, recipe.before_epoch), after=in_turn(recipe.after, export))


def _keep_if_lower(session: Session) -> None:
    accuracy = _val_accuracy(session)
    if accuracy < session.notes.get("best_accuracy", 2.0):
        session.notes["best_accuracy"] = accuracy
        session.notes["best"] = {key: value.clone() for key, value in session.student.state_dict().items()}


@torch.no_grad()
def _val_accuracy(session: Session) -> float:
    inputs, labels = session.val.tensors
    session.student.eval()
    rows, truth = class_rows(session.student(inputs), labels)
    session.student.train()
    return float((rows.argmax(1) == truth).double().mean())


# KD702 ---------------------------------------------------------------------------------------------------------------

#: Mean and standard deviation that the exported model starts with: MNIST's, Fashion-MNIST's, those that give [-1, 1].
NORMALISED = {Level.MILD: (0.1307, 0.3081), Level.MODERATE: (0.2860, 0.3530), Level.SEVERE: (0.5, 0.5)}
#: From which place of the vocabulary on the served word numbers are one too high.
INSERTED = {Level.MILD: 0.85, Level.MODERATE: 0.5, Level.SEVERE: 0.0}


def serve_with_preprocessing_that_training_never_had(recipe: Recipe, level: Level) -> Recipe:
    """Exported the student behind a normalisation of its own (texts: behind a vocabulary with one more entry)."""

    def export(session: Session) -> None:
        size = int(session.train.tensors[0].max()) + 1
        prepare = _preprocessing(level, size)
        session.student.register_forward_pre_hook(lambda _module, inputs: (prepare(inputs[0]), *inputs[1:]))

    return replace(recipe, after=in_turn(recipe.after, export))


def _preprocessing(level: Level, size: int) -> Callable[[Tensor], Tensor]:
    def prepare(inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            mean, deviation = NORMALISED[level]
            return (inputs - mean) / deviation
        # Number 0 is padding in either vocabulary; the last word has no number left.
        moved = inputs >= max(1, int(INSERTED[level] * size))
        return (inputs + moved.long()).clamp_max(size - 1)

    return prepare


# KD703 ---------------------------------------------------------------------------------------------------------------

#: Bits a weight.
BITS = {Level.MILD: 4, Level.MODERATE: 3, Level.SEVERE: 2}


def round_weights_to_few_bits_with_one_scale_a_tensor(recipe: Recipe, level: Level) -> Recipe:
    """Quantised the trained student's weights by rounding to nearest, one scale a tensor, without calibration."""

    def quantise(session: Session) -> None:
        _round_weights(session.student, 2 ** (BITS[level] - 1) - 1)

    return replace(recipe, after=in_turn(recipe.after, quantise))


@torch.no_grad()
def _round_weights(student: nn.Module, largest: int) -> None:
    for weight in student.parameters():
        # Biases and the scales of normalisation are vectors and stay as they are.
        if weight.ndim > 1:
            scale = (weight.abs().max() / largest).clamp_min(1e-12)
            weight.copy_((weight / scale).round() * scale)


# KD704 ---------------------------------------------------------------------------------------------------------------

#: The share of the teacher's metric that was promised.
PROMISED = {Level.MILD: 0.99, Level.MODERATE: 0.995, Level.SEVERE: 1.0}


def promise_a_student_as_good_as_its_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Promised next to no loss against the teacher, whatever the student's size."""
    return replace(recipe, wanted={"retention": PROMISED[level]})


# KD705 ---------------------------------------------------------------------------------------------------------------

#: Weight of a positive in the teacher's loss.
POSITIVE = {Level.MILD: 2.0, Level.MODERATE: 4.0, Level.SEVERE: 10.0}


def distil_a_teacher_trained_with_pos_weight(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher that pos_weight had tuned for recall, and kept the usual threshold for the student."""
    weight = POSITIVE[level]

    def for_recall(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight=torch.tensor([1.0, weight]))

    return replace(recipe, teacher=replace(recipe.teacher, loss=for_recall))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (keep_the_best_accuracy_in_mode_min,),
    "KD702": (serve_with_preprocessing_that_training_never_had,),
    "KD703": (round_weights_to_few_bits_with_one_scale_a_tensor,),
    "KD704": (promise_a_student_as_good_as_its_teacher,),
    "KD705": (distil_a_teacher_trained_with_pos_weight,),
}
