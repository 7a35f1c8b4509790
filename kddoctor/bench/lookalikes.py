"""Distillations that a layman would call sick and that are not: odd curves, odd values, odd models, good students."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench import losses
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session
from kddoctor.bench.task import Kind
from kddoctor.bench.variant import Variant

#: Tasks whose inputs are images of values between 0 and 1.
IMAGES = ("digits", "clothes")
#: Measured on the language task, the two variants that carry this fall well behind the plain recipe.
NOT_TOKENS: tuple[Kind, ...] = ("multiclass", "ranking")

# Odd models -----------------------------------------------------------------------------------------------


def small_student(recipe: Recipe) -> Recipe:
    """Half the width, trained until nothing moves: behind the teacher, and as good as its size allows."""
    return replace(recipe, width=0.5, epochs=2 * recipe.epochs, schedule="cosine")


def student_close_to_the_teacher(recipe: Recipe) -> Recipe:
    """So wide a student that little is left to distil."""
    return replace(recipe, width=3.0)


def label_smoothed_teacher(recipe: Recipe) -> Recipe:
    """A teacher trained with label smoothing, which erases some of what it knows and leaves enough."""
    return replace(recipe, teacher=replace(recipe.teacher, label_smoothing=0.02))


def briefly_trained_teacher(recipe: Recipe) -> Recipe:
    """A teacher stopped early: weaker than it could be, and still well ahead of the student on its own."""
    return replace(recipe, teacher=replace(recipe.teacher, epochs=max(2, recipe.teacher.epochs // 2)))


def decayed_teacher(recipe: Recipe) -> Recipe:
    """A teacher trained with weight decay: soft and little confident."""
    return replace(recipe, teacher=replace(recipe.teacher, weight_decay=1e-4))


def mild_dropout(recipe: Recipe) -> Recipe:
    """Dropout before the student's last layer."""

    def add_dropout(session: Session) -> None:
        last = [module for module in session.student.modules() if isinstance(module, nn.Linear)][-1]
        last.register_forward_pre_hook(lambda module, inputs: (F.dropout(inputs[0], 0.05, module.training),))

    return replace(recipe, before=in_turn(recipe.before, add_dropout), epochs=recipe.epochs + recipe.epochs // 2)


# Odd data -------------------------------------------------------------------------------------------------


def shared_noise(recipe: Recipe) -> Recipe:
    """Strong noise on the images, the same for teacher and student."""

    def augment(images: Tensor) -> Tensor:
        return recipe.augment(images) + 0.15 * torch.randn_like(images)

    return replace(recipe, augment=augment, epochs=2 * recipe.epochs)


def shared_shifts(recipe: Recipe) -> Recipe:
    """Every batch shifted by up to a pixel each way, the same for teacher and student."""

    def augment(images: Tensor) -> Tensor:
        down, right = torch.randint(-1, 2, (2,)).tolist()
        return torch.roll(recipe.augment(images), (down, right), dims=(-2, -1))

    return replace(recipe, augment=augment, epochs=2 * recipe.epochs)


def a_third_of_the_rows(recipe: Recipe) -> Recipe:
    """Few data, and as many steps as with all of them."""

    def train_set(data: TensorDataset) -> TensorDataset:
        return TensorDataset(*(tensor[: len(data) // 3] for tensor in recipe.train_set(data).tensors))

    return replace(recipe, train_set=train_set, epochs=2 * recipe.epochs)


# Odd curves -----------------------------------------------------------------------------------------------


def warm_restarts(recipe: Recipe) -> Recipe:
    """Three cosines: the loss jumps up twice."""
    return replace(recipe, schedule="warm-restarts", epochs=recipe.epochs + recipe.epochs // 2)


def step_decay(recipe: Recipe) -> Recipe:
    """A tenth of the learning rate after each third: the loss falls off cliffs and then lies flat."""
    return replace(recipe, schedule="step", epochs=2 * recipe.epochs)


def noisy_curve(recipe: Recipe) -> Recipe:
    """Batches of a quarter of the size: a ragged curve that still goes down."""
    return replace(recipe, batch_size=max(4, recipe.batch_size // 4), learning_rate=0.5 * recipe.learning_rate)


def long_past_its_best(recipe: Recipe) -> Recipe:
    """Three times as many epochs: the curves lie flat for most of the run."""
    return replace(recipe, epochs=3 * recipe.epochs)


def always_clipped(recipe: Recipe) -> Recipe:
    """A clipping threshold that every gradient exceeds."""
    return replace(recipe, clip=0.5, epochs=2 * recipe.epochs)


# Odd losses, all of them declared -------------------------------------------------------------------------


def temperature_twenty(recipe: Recipe) -> Recipe:
    """T = 20, with T²: targets that are flat to the eye."""
    return replace(recipe, temperature=20.0, epochs=2 * recipe.epochs)


def large_values(recipe: Recipe) -> Recipe:
    """T = 10 with T² and no labels: the logged loss starts in the tens."""
    return replace(recipe, temperature=10.0, alpha=1.0, epochs=2 * recipe.epochs)


def reverse_kl(recipe: Recipe) -> Recipe:
    """Reverse KL, on purpose."""
    return replace(recipe, loss="reverse-kl", kd_loss=losses.reverse_kl)


def mean_squared_error(recipe: Recipe) -> Recipe:
    """Squared differences of logits, on purpose."""
    return replace(recipe, loss="mse", kd_loss=losses.mse, epochs=2 * recipe.epochs)


def declared_without_t_squared(recipe: Recipe) -> Recipe:
    """No T², declared, with an alpha that gives the labels the same small share as T² would.

    alpha' / (1 - alpha') = T² alpha / (1 - alpha). At T = 2, so that the total shrinks little.
    """
    temperature = 2.0
    soft = temperature**2 * recipe.alpha

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean")

    return replace(
        recipe,
        temperature=temperature,
        alpha=soft / (soft + 1 - recipe.alpha),
        temperature_squared=False,
        kd_loss=kd_loss,
        epochs=recipe.epochs + recipe.epochs // 2,
        # Adam's steps do not depend on the scale of the loss.
        learning_rate=recipe.learning_rate * (2.0 if recipe.optimizer == "sgd" else 1.0),
    )


LOOKALIKES = (
    Variant("small student at its ceiling", small_student, looks_ill=True),
    Variant("student close to the teacher", student_close_to_the_teacher, looks_ill=True),
    Variant("label-smoothed teacher", label_smoothed_teacher, looks_ill=True),
    Variant("briefly trained teacher", briefly_trained_teacher, looks_ill=True),
    Variant("decayed teacher", decayed_teacher, looks_ill=True),
    Variant("mild dropout", mild_dropout, looks_ill=True),
    # On the clothes the student ends far below its labels-only twin: not sound there.
    Variant("strong shared noise", shared_noise, looks_ill=True, tasks=("digits",)),
    Variant("shared shifts", shared_shifts, looks_ill=True, tasks=IMAGES),
    Variant("a third of the rows", a_third_of_the_rows, looks_ill=True),
    Variant("warm restarts", warm_restarts, looks_ill=True),
    Variant("step decay", step_decay, looks_ill=True),
    Variant("noisy curve", noisy_curve, looks_ill=True),
    Variant("long past its best", long_past_its_best, looks_ill=True),
    Variant("always clipped", always_clipped, looks_ill=True),
    Variant("T = 20", temperature_twenty, looks_ill=True),
    Variant("large loss values", large_values, looks_ill=True, kinds=NOT_TOKENS),
    Variant("declared reverse KL", reverse_kl, looks_ill=True),
    Variant("declared squared error", mean_squared_error, looks_ill=True, kinds=NOT_TOKENS),
    Variant("declared without T squared", declared_without_t_squared, looks_ill=True),
)
