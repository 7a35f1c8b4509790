"""A distillation as its author wrote it, line by line. Every line is sound by default; a fault replaces some."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench import losses
from kddoctor.bench.rows import class_rows

if TYPE_CHECKING:
    from kddoctor.bench.session import Batch, Session
    from kddoctor.bench.task import Data

Schedule = Literal["constant", "cosine", "warm-restarts", "step"]


# The sound version of each line ---------------------------------------------------------------------------


def the_same(data: TensorDataset) -> TensorDataset:
    """The data set as it is."""
    return data


def as_split(data: "Data") -> "Data":
    """Training and validation rows as the task splits them."""
    return data


def as_built(student: nn.Module) -> nn.Module:
    """The student as the task builds it."""
    return student


def load_strictly(teacher: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the checkpoint, every key of it."""
    teacher.load_state_dict(state, strict=True)


def eval_and_freeze(session: "Session") -> None:
    """The teacher in evaluation mode, without gradients."""
    session.teacher.eval().requires_grad_(False)
    session.student.train()


def train_student(session: "Session") -> None:
    """At the start of each epoch: the student in training mode, and only the student."""
    session.student.train()


def student_parameters(session: "Session") -> Iterable[nn.Parameter]:
    """What the optimizer gets."""
    return session.student.parameters()


def run_teacher(session: "Session", batch: "Batch") -> Tensor:
    """The teacher on the very tensor that the student sees."""
    with torch.no_grad():
        logits: Tensor = session.teacher(batch.inputs)
    return logits


def run_student(session: "Session", batch: "Batch") -> Tensor:
    """The student on the batch."""
    logits: Tensor = session.student(batch.inputs)
    return logits


def nothing(_session: "Session") -> None:
    """Nothing to do."""


def unchanged(inputs: Tensor) -> Tensor:
    """Inputs as they are."""
    return inputs


@dataclass(frozen=True)
class TeacherRecipe:
    """How the teacher was trained, long before. examples: how many of its rows it was shown (None: all).

    data: what happened to its training set. loss: what it was trained on (None: cross-entropy, smoothed as said).
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    examples: int | None = None
    label_smoothing: float = 0.0
    data: Callable[[TensorDataset], TensorDataset] = the_same
    loss: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Recipe:
    """One script. temperature, alpha, loss, temperature_squared, epochs, … are what the manifest will say.

    split: the rows to training and validation. train_set, val_set: what happens to the data before the loop.
    load_teacher: the checkpoint into a new teacher. change_student: what a new student goes through, in place or not.
    wanted: the user's own targets.
    before: once, when both models exist. before_epoch: at the start of each epoch. parameters: for the optimizer.
    augment: the training batch for both models (on top of the task's own). targets: what the loss takes for the
    teacher's logits. rows: logits and labels to class rows. kd_loss, ce_loss, mix: the loss. hint: a feature loss,
    added with hint_weight. after: once, after the last epoch and before the evaluation.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    loss: str = "kl"
    temperature_squared: bool = True
    epochs: int = 10
    batch_size: int = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    clip: float | None = None
    width: float = 1.0
    teacher: TeacherRecipe = TeacherRecipe()
    wanted: Mapping[str, float] | None = None
    split: Callable[["Data"], "Data"] = as_split
    train_set: Callable[[TensorDataset], TensorDataset] = the_same
    val_set: Callable[[TensorDataset], TensorDataset] = the_same
    load_teacher: Callable[[nn.Module, dict[str, Tensor]], None] = load_strictly
    make_student: Callable[[nn.Module], nn.Module] | None = None
    change_student: Callable[[nn.Module], nn.Module] = as_built
    before: Callable[["Session"], None] = eval_and_freeze
    before_epoch: Callable[["Session"], None] = train_student
    parameters: Callable[["Session"], Iterable[nn.Parameter]] = student_parameters
    augment: Callable[[Tensor], Tensor] = unchanged
    targets: Callable[["Session", "Batch"], Tensor] = run_teacher
    answers: Callable[["Session", "Batch"], Tensor] = run_student
    rows: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = class_rows
    kd_loss: Callable[[Tensor, Tensor, float], Tensor] = losses.kl
    ce_loss: Callable[[Tensor, Tensor], Tensor] = losses.cross_entropy
    mix: Callable[[Tensor, Tensor, float], Tensor] = losses.weighted
    hint: Callable[["Session", "Batch"], Tensor] | None = None
    hint_weight: float = 1.0
    after: Callable[["Session"], None] = nothing
