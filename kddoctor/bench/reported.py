"""Bugs that people reported in public, rebuilt on our tasks in our own words; no line of theirs is used."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench import losses
from kddoctor.bench.fault import EVERY_KIND
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, load_strictly
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.task import Kind

GITHUB = "https://github.com"


@dataclass(frozen=True)
class Reported:
    """source: the public thread. codes: all that are true of it, the primary one first. kinds: where it makes sense."""

    name: str
    source: str
    codes: tuple[str, ...]
    edit: Callable[[Recipe], Recipe]
    kinds: tuple[Kind, ...] = EVERY_KIND


# The teacher and its outputs ------------------------------------------------------------------------------


def outputs_cached_over_a_shuffling_loader(recipe: Recipe) -> Recipe:
    """Collected once, looked up by batch number, on images that are augmented anew; and the default reduction."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_batch[batch.number]

    def augment(images: Tensor) -> Tensor:
        seen = recipe.augment(images)
        return torch.roll(seen, int(torch.randint(-1, 2, ())), dims=-1) if seen.ndim == 4 else seen

    return replace(recipe, targets=targets, augment=augment, kd_loss=_class_mean)


def wrapper_wakes_the_teacher(recipe: Recipe) -> Recipe:
    """Teacher and student are children of one module, and train() on it reaches both."""

    def before_epoch(session: Session) -> None:
        nn.ModuleDict({"teacher": session.teacher, "student": session.student}).train()

    return replace(recipe, before_epoch=before_epoch)


def teacher_input_layer_never_filled(recipe: Recipe) -> Recipe:
    """The importer knows no name for the teacher's first layer, which stays as it was allocated: zeros."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        layer = next(iter(state)).rpartition(".")[0]
        zeros = {name: torch.zeros_like(value) for name, value in state.items() if name.startswith(f"{layer}.")}
        load_strictly(teacher, {**state, **zeros})

    return replace(recipe, load_teacher=load_teacher)


def label_map_of_the_data_set(recipe: Recipe) -> Recipe:
    """Labels are numbered by their sorted names, as the data set lists them, and the teacher has numbers of its own."""

    def renumbered(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        names = [_spelled(label) for label in range(int(labels.max()) + 1)]
        numbers = {name: number for number, name in enumerate(sorted(names))}
        return TensorDataset(inputs, torch.tensor([numbers[name] for name in names])[labels])

    return replace(
        recipe,
        train_set=lambda data: renumbered(recipe.train_set(data)),
        val_set=lambda data: renumbered(recipe.val_set(data)),
    )


FIGURES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _spelled(label: int) -> str:
    return " ".join(FIGURES[int(figure)] for figure in str(label))


# The loss -------------------------------------------------------------------------------------------------


def both_operands_from_the_teacher(recipe: Recipe) -> Recipe:
    """The divergence is taken between the teacher and itself."""

    def kd_loss(_student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return losses.kl(teacher, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def student_logits_copied(recipe: Recipe) -> Recipe:
    """The student's logits reach the distillation term through a copy that cuts the graph; and no T²."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        cached = student.new_tensor(student.detach().tolist())
        return F.kl_div(log_p(cached / t), p(teacher / t), reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


def mean_over_classes(recipe: Recipe) -> Recipe:
    """A mean over classes, then over rows."""
    return replace(recipe, kd_loss=_class_mean)


def _class_mean(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    each = F.kl_div(log_p(student / t), p(teacher / t), reduction="none")
    return t**2 * each.mean(1).mean()


def probabilities_into_the_divergence(recipe: Recipe) -> Recipe:
    """The student's probabilities where kl_div expects their logarithms."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return t**2 * F.kl_div(p(student / t), p(teacher / t), reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


def class_axis_not_moved(recipe: Recipe) -> Recipe:
    """Logits with the class axis first are flattened to rows of C without moving that axis to the end."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        classes = student.shape[1]
        student, teacher = (logits.t().reshape(-1, classes) for logits in (student, teacher))
        return losses.kl(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


def without_t_squared(recipe: Recipe) -> Recipe:
    """An example that many copied: the soft loss at T, not multiplied by T²."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), p(teacher / t), reduction="batchmean")

    return replace(recipe, kd_loss=kd_loss)


def weights_exchanged(recipe: Recipe) -> Recipe:
    """alpha on the hard loss, the rest on the soft one."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return ce * alpha + kd * (1 - alpha)

    return replace(recipe, mix=mix)


def fused_loss_keeps_its_defaults(recipe: Recipe) -> Recipe:
    """A fused kernel is called without the configured weight and temperature: half hard loss, T of the sampling."""

    def kd_loss(student: Tensor, teacher: Tensor, _t: float) -> Tensor:
        return losses.kl(student, teacher, 0.9)

    def mix(ce: Tensor, kd: Tensor, _alpha: float) -> Tensor:
        return 0.5 * ce + 0.5 * kd

    return replace(recipe, alpha=1.0, kd_loss=kd_loss, mix=mix)


def mask_accepted_and_unused(recipe: Recipe) -> Recipe:
    """The soft loss takes ignore_index and does nothing with it: padding counts like text."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if logits.ndim < 3:
            return class_rows(logits, labels)
        # Cross-entropy leaves out the ignored labels by itself; the divergence does not see labels.
        return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)

    return replace(recipe, rows=rows)


REPORTED = (
    Reported(
        "teacher outputs cached over a shuffling loader",
        f"{GITHUB}/haitongli/knowledge-distillation-pytorch/pull/16",
        ("KD106", "KD107", "KD201"),
        outputs_cached_over_a_shuffling_loader,
        kinds=("multiclass",),
    ),
    Reported(
        "both operands from the teacher",
        f"{GITHUB}/labmlai/annotated_deep_learning_paper_implementations/issues/66",
        ("KD209",),
        both_operands_from_the_teacher,
    ),
    Reported(
        "student logits copied out of the graph",
        f"{GITHUB}/IntelLabs/distiller/issues/234",
        ("KD111", "KD202"),
        student_logits_copied,
    ),
    Reported("mean over classes", f"{GITHUB}/HikariTJU/LD/issues/74", ("KD201",), mean_over_classes),
    Reported(
        "probabilities into the divergence",
        f"{GITHUB}/microsoft/ProDA/issues/20",
        ("KD203",),
        probabilities_into_the_divergence,
    ),
    Reported(
        "class axis not moved",
        f"{GITHUB}/irfanICMLL/structure_knowledge_distillation/issues/11",
        ("KD206",),
        class_axis_not_moved,
        kinds=("multiclass", "tokens"),
    ),
    Reported("weights exchanged", f"{GITHUB}/lucidrains/vit-pytorch/issues/91", ("KD207",), weights_exchanged),
    Reported(
        "fused loss keeps its defaults",
        f"{GITHUB}/huggingface/trl/issues/5731",
        ("KD211",),
        fused_loss_keeps_its_defaults,
    ),
    Reported(
        "mask accepted and unused",
        f"{GITHUB}/linkedin/Liger-Kernel/issues/974",
        ("KD801",),
        mask_accepted_and_unused,
        kinds=("tokens",),
    ),
    Reported(
        "label map of the data set",
        f"{GITHUB}/neuralmagic/sparseml/issues/1399",
        ("KD105",),
        label_map_of_the_data_set,
        kinds=("multiclass",),
    ),
    Reported("no T squared", f"{GITHUB}/keras-team/keras-io/pull/870", ("KD202",), without_t_squared),
    Reported(
        "wrapper wakes the teacher",
        f"{GITHUB}/neuralmagic/sparseml/issues/2191",
        ("KD103",),
        wrapper_wakes_the_teacher,
    ),
    Reported(
        "teacher's first layer never filled",
        f"{GITHUB}/NVIDIA-NeMo/Megatron-Bridge/issues/1422",
        ("KD101",),
        teacher_input_layer_never_filled,
    ),
)
