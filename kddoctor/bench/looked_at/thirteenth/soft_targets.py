"""Mistakes about what the teacher's soft targets are worth: too hard, too flat, wrong, cut off, or averaged badly."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session, batches


def _fit(model: nn.Module, data: TensorDataset, epochs: int, rate: float, seed: int) -> None:
    """A plain training on hard labels, which leaves the random numbers of the distillation as they were."""
    inputs, labels = data.tensors
    model.requires_grad_(True).train()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(epochs):
            for rows in batches(len(inputs), 32, generator):
                optimizer.zero_grad()
                F.cross_entropy(*class_rows(model(inputs[rows]), labels[rows])).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    model.requires_grad_(False).eval()


# KD301 ---------------------------------------------------------------------------------------------------------------


def teacher_memorised_the_transfer_rows(recipe: Recipe, level: Level) -> Recipe:
    """Fine-tuned the teacher on the very rows to distil on, until it knew them by heart, and distilled at T = 1."""
    epochs = {Level.MILD: 2, Level.MODERATE: 10, Level.SEVERE: 60}[level]

    def adapt(session: Session) -> None:
        _fit(session.teacher, session.train, epochs, 1e-3, session.seed)

    return replace(recipe, temperature=1.0, before=in_turn(adapt, recipe.before))


# KD302 ---------------------------------------------------------------------------------------------------------------


def softened_until_flat(recipe: Recipe, level: Level) -> Recipe:
    """Took a very high temperature, so that the targets hold as much dark knowledge as possible."""
    return replace(recipe, temperature={Level.MILD: 10.0, Level.MODERATE: 30.0, Level.SEVERE: 100.0}[level])


# KD303 ---------------------------------------------------------------------------------------------------------------


def teacher_checkpoint_trained_with_smoothing(recipe: Recipe, level: Level) -> Recipe:
    """Took the most accurate checkpoint at hand, which had been trained with label smoothing."""
    smoothing = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.6}[level]
    return replace(recipe, teacher=replace(recipe.teacher, label_smoothing=smoothing))


# KD304 ---------------------------------------------------------------------------------------------------------------


def teacher_learnt_from_careless_annotators(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher on crowd labels that nobody had checked, for as long as the training loss still fell."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.35}[level]
    teacher = replace(recipe.teacher, data=partial(_carelessly_labelled, share=share), epochs=2 * recipe.teacher.epochs)
    return replace(recipe, teacher=teacher)


def _carelessly_labelled(data: TensorDataset, share: float) -> TensorDataset:
    inputs, labels = data.tensors
    classes = int(labels.max()) + 1
    generator = torch.Generator().manual_seed(11)
    wrong = torch.rand(len(labels), generator=generator) < share
    another = (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes
    return TensorDataset(inputs, torch.where(wrong, another, labels))


# KD305 ---------------------------------------------------------------------------------------------------------------


def student_with_a_cosine_head_of_small_scale(recipe: Recipe, level: Level) -> Recipe:
    """Gave the student a normalised head and left its scale near one, far below the range of the teacher's logits."""
    scale = {Level.MILD: 8.0, Level.MODERATE: 3.0, Level.SEVERE: 1.0}[level]

    def with_cosine_head(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = [(name, layer) for name, layer in student.named_modules() if isinstance(layer, nn.Linear)][-1]
        student.set_submodule(name, _CosineHead(head, scale))
        return student

    return replace(recipe, change_student=with_cosine_head)


class _CosineHead(nn.Module):
    """Logits are cosines times a fixed scale."""

    def __init__(self, head: nn.Linear, scale: float) -> None:
        super().__init__()
        self.weight = head.weight
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(features, dim=-1), F.normalize(self.weight, dim=-1))


# KD306 ---------------------------------------------------------------------------------------------------------------


def softmax_over_the_best_few_only(recipe: Recipe, level: Level) -> Recipe:
    """Kept the teacher's k best logits to save space, and took both softmaxes over those k entries alone."""
    k = {Level.MILD: 6, Level.MODERATE: 4, Level.SEVERE: 2}[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        best, places = teacher.topk(k, dim=-1)
        return recipe.kd_loss(student.gather(-1, places), best, temperature)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ---------------------------------------------------------------------------------------------------------------


def teacher_defended_with_decoy_classes(recipe: Recipe, level: Level) -> Recipe:
    """Distilled a vendor's model that is trained against copying: right at the top, with an unrelated runner-up."""
    decoy = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.45}[level]
    return replace(recipe, teacher=replace(recipe.teacher, loss=_with_decoys(decoy)))


def _with_decoys(weight: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        order = torch.randperm(logits.shape[-1], generator=torch.Generator().manual_seed(5))
        decoys = torch.empty_like(order)
        decoys[order] = order.roll(1)  # one cycle: no class is its own decoy
        return (1 - weight) * F.cross_entropy(logits, labels) + weight * F.cross_entropy(logits, decoys[labels])

    return loss


# KD308 ---------------------------------------------------------------------------------------------------------------


def logits_of_unlike_members_averaged(recipe: Recipe, level: Level) -> Recipe:
    """Averaged the raw logits of several teachers, of which one is overconfident and so outvotes all others."""
    epochs = {Level.MILD: 10, Level.MODERATE: 50, Level.SEVERE: 200}[level]

    def gather(session: Session) -> None:
        tuned = deepcopy(session.teacher)
        _fit(tuned, session.train, 1, 1e-4, session.seed)
        session.teacher = _MeanOfLogits([session.teacher, tuned, _overconfident(session, epochs)]).eval()

    return replace(recipe, before=in_turn(recipe.before, gather))


def _overconfident(session: Session, epochs: int) -> nn.Module:
    """A member trained from scratch, for long and at a high rate, on its own fifth of the rows."""
    member = deepcopy(session.teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed)
        for module in member.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    fold = TensorDataset(*(tensor[: len(tensor) // 5] for tensor in session.train.tensors))
    _fit(member, fold, epochs, 3e-2, session.seed)
    return member


class _MeanOfLogits(nn.Module):
    """Several teachers as one."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: list[Tensor] = [member(inputs) for member in self.members]
        return torch.stack(logits).mean(0)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (teacher_memorised_the_transfer_rows,),
    "KD302": (softened_until_flat,),
    "KD303": (teacher_checkpoint_trained_with_smoothing,),
    "KD304": (teacher_learnt_from_careless_annotators,),
    "KD305": (student_with_a_cosine_head_of_small_scale,),
    "KD306": (softmax_over_the_best_few_only,),
    "KD307": (teacher_defended_with_decoy_classes,),
    "KD308": (logits_of_unlike_members_averaged,),
}
