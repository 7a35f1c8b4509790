"""Sound distillations that differ from a task's own recipe: choices that a person may make, none of them a mistake."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench import losses
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.task import Kind
from kddoctor.bench.variant import Variant

#: Tasks whose training batches are not augmented, and whose teacher's outputs fit in memory row by row.
CACHEABLE = ("digits", "newsgroups", "movielens", "sentiment")
#: On MovieLens, half the weight on the labels costs nearly three points.
PLENTY_IN_LABELS: tuple[Kind, ...] = ("multiclass", "tokens")

# Knobs ----------------------------------------------------------------------------------------------------


def temperature_two(recipe: Recipe) -> Recipe:
    """T = 2, with T²."""
    return replace(recipe, temperature=2.0)


def temperature_eight(recipe: Recipe) -> Recipe:
    """T = 8, with T²."""
    return replace(recipe, temperature=8.0)


def equal_weights(recipe: Recipe) -> Recipe:
    """Half the labels, half the teacher."""
    return replace(recipe, alpha=0.5)


def labels_unused(recipe: Recipe) -> Recipe:
    """The teacher alone, as where nobody has labels."""
    return replace(recipe, alpha=1.0)


def mostly_labels(recipe: Recipe) -> Recipe:
    """The teacher as a light touch; T² gives it more than the tenth that alpha says."""
    return replace(recipe, alpha=0.1)


def larger_batches(recipe: Recipe) -> Recipe:
    """Batches of twice the size, the learning rate raised with their square root."""
    return replace(recipe, batch_size=2 * recipe.batch_size, learning_rate=1.4 * recipe.learning_rate)


def another_optimizer(recipe: Recipe) -> Recipe:
    """Adam in place of SGD, AdamW in place of Adam, Adam in place of AdamW."""
    if recipe.optimizer == "sgd":
        return replace(recipe, optimizer="adam", learning_rate=1e-2)
    if recipe.optimizer == "adam":
        return replace(recipe, optimizer="adamw")
    # Adam adds the decay to the gradient, where a decay that is fit for AdamW is far too strong.
    return replace(recipe, optimizer="adam", weight_decay=0.0)


def cosine(recipe: Recipe) -> Recipe:
    """A cosine schedule down to zero."""
    return replace(recipe, schedule="cosine")


def light_weight_decay(recipe: Recipe) -> Recipe:
    """A weight decay that is usual for the optimizer."""
    usual = {"sgd": 5e-4, "adam": 1e-5, "adamw": 2e-2}
    return replace(recipe, weight_decay=usual[recipe.optimizer])


def clipped(recipe: Recipe) -> Recipe:
    """Gradients clipped where they are unusually long."""
    return replace(recipe, clip=5.0)


def longer(recipe: Recipe) -> Recipe:
    """Half as many epochs again."""
    return replace(recipe, epochs=recipe.epochs + recipe.epochs // 2)


def wider_student(recipe: Recipe) -> Recipe:
    """A student of one and a half times the width."""
    return replace(recipe, width=1.5)


# The same, written another way ----------------------------------------------------------------------------


def soft_cross_entropy(recipe: Recipe) -> Recipe:
    """Cross-entropy with the soft targets: the divergence, up to the teacher's own entropy, so the same gradient."""
    return replace(recipe, kd_loss=losses.soft_cross_entropy)


def divergence_by_hand(recipe: Recipe) -> Recipe:
    """The divergence written out as a sum."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        target = p(teacher / t)
        return t**2 * torch.sum(target * (log_p(teacher / t) - log_p(student / t)), dim=1).mean()

    return replace(recipe, kd_loss=kd_loss)


def double_precision(recipe: Recipe) -> Recipe:
    """The distillation term in float64."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return losses.kl(student.double(), teacher.double(), t)

    return replace(recipe, kd_loss=kd_loss)


def teacher_without_gradients_only(recipe: Recipe) -> Recipe:
    """The teacher's parameters still require gradients, but every pass runs without them."""

    def before(session: Session) -> None:
        session.teacher.eval()
        session.student.train()

    return replace(recipe, before=before)


def teacher_detached(recipe: Recipe) -> Recipe:
    """The teacher's outputs detached, in place of a pass without gradients."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        return logits.detach()

    return replace(recipe, targets=targets)


def modes_set_every_epoch(recipe: Recipe) -> Recipe:
    """One module that holds both, put in training mode each epoch, and the teacher in evaluation mode again."""

    def before_epoch(session: Session) -> None:
        nn.ModuleList([session.teacher, session.student]).train()
        session.teacher.eval()

    return replace(recipe, before_epoch=before_epoch)


def cached_by_row(recipe: Recipe) -> Recipe:
    """The teacher's outputs computed once and joined by row number."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    return replace(recipe, targets=targets)


HEALTHY = (
    Variant("T = 2", temperature_two),
    # On the language task more than a point behind the plain recipe.
    Variant("T = 8", temperature_eight, kinds=("multiclass", "ranking")),
    Variant("alpha 0.5", equal_weights, kinds=PLENTY_IN_LABELS),
    Variant("alpha 1, labels unused", labels_unused),
    Variant("alpha 0.1", mostly_labels, tasks=("digits",)),
    Variant("batches twice as large", larger_batches),
    Variant("another optimizer", another_optimizer),
    Variant("cosine schedule", cosine),
    Variant("light weight decay", light_weight_decay),
    Variant("gradients clipped at times", clipped),
    Variant("longer schedule", longer),
    Variant("wider student", wider_student),
    Variant("soft cross-entropy", soft_cross_entropy),
    Variant("divergence by hand", divergence_by_hand),
    Variant("loss in double precision", double_precision),
    Variant("teacher under no_grad only", teacher_without_gradients_only),
    Variant("teacher detached", teacher_detached),
    Variant("modes set every epoch", modes_set_every_epoch),
    Variant("teacher cached by row", cached_by_row, tasks=CACHEABLE),
)
