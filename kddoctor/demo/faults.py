"""The mistakes that the demo can make, each as the small edit to a sound loop that a person would make.

An edit touches the loop, the loss, the data pipeline, the models or the schedule; never weights that were learned, nor
anything that was recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KDLoss = Callable[[Tensor, Tensor, float], Tensor]
#: (teacher, its outputs cached by batch number, batch number, inputs) -> what the loss takes for the teacher's logits
Targets = Callable[[nn.Module, Sequence[Tensor], int, Tensor], Tensor]


def _log(z: Tensor) -> Tensor:
    return F.log_softmax(z, dim=-1)


def _soft(z: Tensor) -> Tensor:
    return F.softmax(z, dim=-1)


def kl(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    """Hinton et al. 2015: T² KL(teacher ‖ student), mean over the batch."""
    return F.kl_div(_log(student / t), _soft(teacher / t), reduction="batchmean") * t * t


def run_teacher(teacher: nn.Module, _cache: Sequence[Tensor], _number: int, inputs: Tensor) -> Tensor:
    """The teacher on the very batch that the student sees."""
    return teacher(inputs)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Loop:
    """A sound distillation; a fault replaces some of it."""

    kd_loss: KDLoss = kl
    targets: Targets = run_teacher
    mix: Callable[[Tensor, Tensor, float], Tensor] = lambda ce, kd, alpha: (1 - alpha) * ce + alpha * kd
    teacher_mode: str = "eval"
    teacher_loaded: bool = True
    teacher_examples: int | None = None
    hidden: int | None = None
    temperature: float = 4.0
    alpha: float = 0.9
    declared_loss: str = "kl"
    epochs: int = 50
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: float = 5e-2


@dataclass(frozen=True)
class Fault:
    """One mistake: the code that names it, its story for the reader, and the loop that makes it."""

    code: str
    name: str
    story: str
    loop: Loop = field(default_factory=Loop)


HEALTHY = Fault("", "healthy", "Nothing is wrong: the twin of every fault below.")


def _wrong_order(teacher: nn.Module, _cache: Sequence[Tensor], _number: int, inputs: Tensor) -> Tensor:
    # The teacher's classes are sorted as text by their English names, the data set's by value.
    by_name = [8, 5, 4, 9, 1, 7, 6, 3, 2, 0]
    return teacher(inputs)[:, by_name]  # type: ignore[no-any-return]


def _cached(_teacher: nn.Module, cache: Sequence[Tensor], number: int, _inputs: Tensor) -> Tensor:
    # Collected once over a loader that shuffles, then looked up by batch number in every epoch.
    return cache[number]


def _probabilities(teacher: nn.Module, _cache: Sequence[Tensor], _number: int, inputs: Tensor) -> Tensor:
    return _soft(teacher(inputs))


def _mean(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return nn.functional.kl_div(_log(student / t), _soft(teacher / t), reduction="none").mean() * t * t


def _no_factor(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(_log(student / t), _soft(teacher / t), reduction="batchmean")


def _not_logged(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(_soft(student / t), _soft(teacher / t), reduction="batchmean") * t * t


def _swapped(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(_log(teacher / t), _soft(student / t), reduction="batchmean") * t * t


def _one_side(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return F.kl_div(_log(student / t), _soft(teacher), reduction="batchmean") * t * t


def _hundredfold(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    return 100 * kl(student, teacher, t)


_SOUND = Loop()
FAULTS: tuple[Fault, ...] = (
    Fault(
        "KD106",
        "teacher-rows-misaligned",
        "The teacher's outputs were cached over a loader that shuffles, then looked up by batch number.",
        replace(_SOUND, targets=_cached),
    ),
    Fault(
        "KD105",
        "label-order-mismatch",
        "The teacher's classes are sorted by name, the data set's by value.",
        replace(_SOUND, targets=_wrong_order),
    ),
    Fault(
        "KD101",
        "teacher-weights-not-loaded",
        "The teacher's checkpoint was loaded with strict=False, and no key matched.",
        replace(_SOUND, teacher_loaded=False),
    ),
    Fault(
        "KD102",
        "weak-or-off-task-teacher",
        "The teacher was fine-tuned on 40 examples.",
        replace(_SOUND, teacher_examples=40),
    ),
    Fault(
        "KD103",
        "teacher-in-train-mode",
        "A wrapper's train() switched the teacher to training mode too.",
        replace(_SOUND, teacher_mode="train"),
    ),
    Fault(
        "KD110",
        "kd-term-disconnected",
        "The distillation term is computed and logged, but never added.",
        replace(_SOUND, mix=lambda ce, _kd, _alpha: ce),
    ),
    Fault("KD201", "kl-mean-reduction", "The divergence is averaged over classes.", replace(_SOUND, kd_loss=_mean)),
    Fault("KD202", "missing-t-squared", "The factor T² was forgotten.", replace(_SOUND, kd_loss=_no_factor)),
    Fault(
        "KD203",
        "kl-input-not-log",
        "kl_div gets softmax where it expects log_softmax.",
        replace(_SOUND, kd_loss=_not_logged),
    ),
    Fault(
        "KD204",
        "kl-direction-swapped",
        "The two arguments of the divergence were exchanged.",
        replace(_SOUND, kd_loss=_swapped),
    ),
    Fault(
        "KD205",
        "probs-as-logits",
        "The teacher already ends in a softmax.",
        replace(_SOUND, targets=_probabilities),
    ),
    Fault(
        "KD207",
        "alpha-inverted",
        "alpha was put on the labels' term.",
        replace(_SOUND, mix=lambda ce, kd, alpha: alpha * ce + (1 - alpha) * kd),
    ),
    Fault(
        "KD208",
        "loss-weight-imbalance",
        "A weight from another set-up makes the distillation term a hundred times too strong.",
        replace(_SOUND, kd_loss=_hundredfold),
    ),
    Fault(
        "KD211",
        "objective-config-drift",
        "The temperature reaches the student's side only.",
        replace(_SOUND, kd_loss=_one_side),
    ),
    Fault(
        "KD301",
        "soft-targets-collapsed",
        "Distilled at T = 1 from a teacher that is certain of everything.",
        replace(_SOUND, temperature=1.0),
    ),
    Fault(
        "KD402",
        "student-capacity-floor",
        "The student has two hidden units.",
        replace(_SOUND, hidden=2, epochs=200),
    ),
    Fault(
        "KD502",
        "undertrained-distillation",
        "The schedule was sized for another learning rate.",
        replace(_SOUND, learning_rate=2e-3),
    ),
    Fault(
        "KD505",
        "training-diverged",
        "A learning rate from another optimiser.",
        replace(_SOUND, learning_rate=20.0),
    ),
)

DEFAULT = "teacher-rows-misaligned"


def find_fault(name: str) -> Fault | None:
    """The fault of a name or code, ``healthy`` included."""
    wanted = name.strip().lower()
    return next((f for f in (HEALTHY, *FAULTS) if wanted and wanted in (f.name, f.code.lower())), None)


def seeded(seed: int) -> None:
    """One seed for everything that torch draws."""
    torch.manual_seed(seed)
