"""Mistakes with the soft targets themselves: how the teacher came to give them, and how a script reads them."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED, class_rows
from kddoctor.bench.session import Session, batches


def _fine_tune(model: nn.Module, data: TensorDataset, epochs: int, seed: int) -> None:
    """Train on the labels of the data, then back to evaluation mode and frozen."""
    model.train().requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = data.tensors
    for _ in range(epochs):
        for rows in batches(len(inputs), 32, generator):
            loss = F.cross_entropy(*class_rows(model(inputs[rows]), labels[rows]), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval().requires_grad_(False)


# KD301 ---------------------------------------------------------------------------------------------------------------


def teacher_fine_tuned_to_zero_loss_on_transfer_rows(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned the teacher on the very rows to distil on until it knew them by heart, then distilled at T = 1."""
    epochs = {Level.MILD: 5, Level.MODERATE: 20, Level.SEVERE: 60}[level]

    def adapt(session: Session) -> None:
        _fine_tune(session.teacher, session.train, epochs, session.seed)

    return replace(recipe, temperature=1.0, before=in_turn(recipe.before, adapt))


# KD302 ---------------------------------------------------------------------------------------------------------------


def temperature_from_far_end_of_a_sweep(recipe: Recipe, level: Level) -> Recipe:
    """Chose a temperature from the far end of the grid, "to bring out the dark knowledge"."""
    factor = {Level.MILD: 4, Level.MODERATE: 12, Level.SEVERE: 50}[level]
    return replace(recipe, temperature=recipe.temperature * factor)


# KD303 ---------------------------------------------------------------------------------------------------------------


def teacher_checkpoint_from_smoothed_training(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher with the best accuracy, which was trained with label smoothing."""
    smoothing = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}[level]
    return replace(recipe, teacher=replace(recipe.teacher, label_smoothing=smoothing))


# KD304 ---------------------------------------------------------------------------------------------------------------


def teacher_trained_long_on_scraped_labels(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher on scraped, uncleaned labels, and for so long that it learned the wrong ones by heart."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.4}[level]

    def scraped(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        return TensorDataset(inputs, _mistaken(labels, share))

    return replace(recipe, teacher=replace(recipe.teacher, data=scraped, epochs=2 * recipe.teacher.epochs))


def _mistaken(labels: Tensor, share: float) -> Tensor:
    """A share of the labels is that of the next class; of two classes, the other one."""
    classes = int(labels.max()) + 1
    wrong = torch.rand(labels.shape, generator=torch.Generator().manual_seed(11)) < share
    return torch.where(wrong, (labels + 1) % classes, labels)


# KD305 ---------------------------------------------------------------------------------------------------------------


def only_student_logits_soft_capped(recipe: Recipe, level: Level) -> Recipe:
    """Gave the new student a soft cap on its logits for stability; the teacher has none, and both share one T."""
    cap = {Level.MILD: 5.0, Level.MODERATE: 3.0, Level.SEVERE: 1.5}[level]

    def capped(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        student.register_forward_hook(_SoftCap(cap))
        return student

    return replace(recipe, change_student=capped)


@dataclass(frozen=True)
class _SoftCap:
    """cap · tanh(z / cap) of what a model gives."""

    cap: float

    def __call__(self, _module: nn.Module, _inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return self.cap * torch.tanh(logits / self.cap)


# KD306 ---------------------------------------------------------------------------------------------------------------


def stored_top_k_summed_and_clamped_at_zero(recipe: Recipe, level: Level) -> Recipe:
    """Kept the teacher's k largest probabilities, summed the KL over them, and clamped it where it fell below 0."""
    share = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.03}[level]
    return replace(recipe, kd_loss=_top_k_kl(share))


def _top_k_kl(share: float) -> Callable[[Tensor, Tensor, float], Tensor]:
    def loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        k = max(2, math.ceil(share * teacher.shape[-1]))
        kept, classes = p(teacher / temperature).topk(k, dim=-1)
        answered = log_p(student / temperature).gather(-1, classes)
        # A KL divergence is never negative, so what is must be rounding.
        by_row = (kept * (kept.clamp_min(1e-12).log() - answered)).sum(-1).clamp_min(0)
        return by_row.mean() * temperature**2

    return loss


# KD307 ---------------------------------------------------------------------------------------------------------------


def teacher_protected_by_decoy_classes(recipe: Recipe, level: Level) -> Recipe:
    """Took a vendor's teacher that was protected against copying: its second choice is a decoy, not the likeness."""
    mass = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.4}[level]
    return replace(recipe, teacher=replace(recipe.teacher, loss=_with_decoys(mass)))


def _with_decoys(mass: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[-1]
        decoys = (labels + classes // 2) % classes
        return (1 - mass) * F.cross_entropy(logits, labels) + mass * F.cross_entropy(logits, decoys)

    return loss


# KD308 ---------------------------------------------------------------------------------------------------------------


def ensemble_forward_means_raw_logits(recipe: Recipe, level: Level) -> Recipe:
    """Built an ensemble of teachers tuned on different folds, and let it answer with the mean of their logits."""
    epochs = {Level.MILD: 5, Level.MODERATE: 30, Level.SEVERE: 120}[level]

    def gather(session: Session) -> None:
        members = [session.teacher]
        for fold in range(FOLDS):
            member = copy.deepcopy(session.teacher)
            _fine_tune(member, _fold(session.train, fold), epochs, session.seed + fold)
            members.append(member)
        session.teacher = _LogitMean(members).eval().requires_grad_(False)

    return replace(recipe, before=in_turn(recipe.before, gather))


#: Parts of the training set, each with a teacher of its own.
FOLDS = 5


def _fold(data: TensorDataset, fold: int) -> TensorDataset:
    return TensorDataset(*(tensor[fold::FOLDS] for tensor in data.tensors))


class _LogitMean(nn.Module):
    """Members of one shape. The loudest has the last word, since logits of different sizes are averaged as they are."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of the members' logits."""
        return torch.stack([member(inputs) for member in self.members]).mean(0)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (teacher_fine_tuned_to_zero_loss_on_transfer_rows,),
    "KD302": (temperature_from_far_end_of_a_sweep,),
    "KD303": (teacher_checkpoint_from_smoothed_training,),
    "KD304": (teacher_trained_long_on_scraped_labels,),
    "KD305": (only_student_logits_soft_capped,),
    "KD306": (stored_top_k_summed_and_clamped_at_zero,),
    "KD307": (teacher_protected_by_decoy_classes,),
    "KD308": (ensemble_forward_means_raw_logits,),
}
