"""Mistakes in what the teacher's soft targets say: their temperature, the teacher behind them, what is kept of them."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session, batches


def _train_on(session: Session, model: nn.Module, labels: Tensor, epochs: int, margin: float | None = None) -> None:
    """Train a model on the transfer set with these labels: on cross-entropy, or on hinge loss with a margin."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(session.seed)
    model.train()
    for _ in range(epochs):
        for rows in batches(len(session.train), session.batch_size, generator):
            logits, truth = class_rows(model(session.train.tensors[0][rows]), labels[rows])
            hinge = None if margin is None else F.multi_margin_loss(logits, truth, margin=margin)
            loss = F.cross_entropy(logits, truth) if hinge is None else hinge
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval()


# KD301 ----------------------------------------------------------------------------------------------------------------


def sampling_temperature_for_distillation(recipe: Recipe, level: Level) -> Recipe:
    """Reused the temperature below one with which the teacher's answers are sampled, so that targets are one-hot."""
    return replace(recipe, temperature={Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}[level])


# KD302 ----------------------------------------------------------------------------------------------------------------


def softer_is_better_temperature(recipe: Recipe, level: Level) -> Recipe:
    """Turned the temperature far up, in the belief that softer targets always say more."""
    factor = {Level.MILD: 5, Level.MODERATE: 10, Level.SEVERE: 25}[level]
    return replace(recipe, temperature=recipe.temperature * factor)


# KD303 ----------------------------------------------------------------------------------------------------------------


def teacher_from_annotated_smoothing_criterion(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher trained with the usual criterion that spreads a share of each label over all other classes."""
    smoothing = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.6}[level]

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        smoothed = torch.full_like(logits, smoothing / (logits.shape[-1] - 1))
        smoothed.scatter_(1, labels[:, None], 1 - smoothing)
        return F.kl_div(log_p(logits), smoothed, reduction="batchmean")

    return replace(recipe, teacher=replace(recipe.teacher, loss=criterion))


# KD304 ----------------------------------------------------------------------------------------------------------------


def teacher_adapted_on_uncleaned_labels(recipe: Recipe, level: Level) -> Recipe:
    """Adapted the teacher to the transfer set with annotators' raw labels; only the student got the cleaned ones."""
    share = {Level.MILD: 0.05, Level.MODERATE: 0.15, Level.SEVERE: 0.4}[level]

    def adapt(session: Session) -> None:
        # The order and the dropout of the distillation itself stay as they were.
        with torch.random.fork_rng(devices=[]):
            session.teacher.requires_grad_(True)
            _train_on(session, session.teacher, _raw_labels(session.train.tensors[1], share), epochs=20)
        session.teacher.requires_grad_(False)

    return replace(recipe, before=in_turn(recipe.before, adapt))


def _raw_labels(labels: Tensor, share: float) -> Tensor:
    """A share of the labels is some other class."""
    classes = int(labels.max()) + 1
    other = (labels + torch.randint(1, classes, labels.shape)) % classes
    return torch.where(torch.rand(labels.shape) < share, other, labels)


# KD305 ----------------------------------------------------------------------------------------------------------------


class _CosineHead(nn.Linear):
    """Logits are cosines times a scale that does not learn."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__(width, classes, bias=False)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """[..., D] to [..., C]."""
        return F.linear(F.normalize(features, dim=-1), F.normalize(self.weight, dim=-1)) * self.scale


def cosine_head_that_cannot_reach_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Gave the student a cosine classifier whose fixed scale keeps its logits far below the teacher's."""
    scale = {Level.MILD: 10.0, Level.MODERATE: 4.0, Level.SEVERE: 1.5}[level]

    def with_cosine_head(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        name, last = list(changed.named_children())[-1]
        assert isinstance(last, nn.Linear)
        setattr(changed, name, _CosineHead(last.in_features, last.out_features, scale))
        return changed

    return replace(recipe, change_student=with_cosine_head)


# KD306 ----------------------------------------------------------------------------------------------------------------


def kl_over_the_kept_classes_only(recipe: Recipe, level: Level) -> Recipe:
    """Kept the teacher's top probabilities to save space and summed the divergence over them, without the rest."""
    count = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 1}[level]

    def truncated(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        kept, classes = p(teacher / temperature).topk(count, dim=-1)
        student_log_p = log_p(student / temperature).gather(-1, classes)
        return (kept * (kept.log() - student_log_p)).sum(-1).mean() * temperature**2

    return replace(recipe, kd_loss=truncated)


# KD307 ----------------------------------------------------------------------------------------------------------------


def teacher_of_ordinal_labels_on_unordered_classes(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher trained on Gaussian labels around the class number, as for ages, where numbers mean nothing."""
    width = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.1}[level]

    def ordinal(logits: Tensor, labels: Tensor) -> Tensor:
        away = torch.arange(logits.shape[-1]) - labels[:, None]
        return F.cross_entropy(logits, p(-((away / width) ** 2) / 2))

    return replace(recipe, teacher=replace(recipe.teacher, loss=ordinal))


# KD308 ----------------------------------------------------------------------------------------------------------------


class _MeanOfScores(nn.Module):
    """Several teachers as one, by the mean of what they put out."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """What one member puts out, averaged."""
        return torch.stack([member(inputs) for member in self.members]).mean(0)


def raw_scores_of_unlike_teachers_averaged(recipe: Recipe, level: Level) -> Recipe:
    """Averaged the raw scores of the teacher and of a large-margin model, whose scale outvotes the teacher's."""
    margin = {Level.MILD: 2.0, Level.MODERATE: 15.0, Level.SEVERE: 80.0}[level]

    def ensemble(session: Session) -> None:
        with torch.random.fork_rng(devices=[]):
            other = _as_new(session.teacher)
            _train_on(session, other, session.train.tensors[1], epochs=30, margin=margin)
        session.teacher = _MeanOfScores(session.teacher, other.requires_grad_(False)).eval()

    return replace(recipe, before=in_turn(recipe.before, ensemble))


def _as_new(model: nn.Module) -> nn.Module:
    """A model of the same architecture that has learnt nothing yet but the embeddings, which people share."""
    new = deepcopy(model).requires_grad_(True)
    for module in new.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None and not isinstance(module, nn.Embedding):
            reset()
    return new


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (sampling_temperature_for_distillation,),
    "KD302": (softer_is_better_temperature,),
    "KD303": (teacher_from_annotated_smoothing_criterion,),
    "KD304": (teacher_adapted_on_uncleaned_labels,),
    "KD305": (cosine_head_that_cannot_reach_the_teacher,),
    "KD306": (kl_over_the_kept_classes_only,),
    "KD307": (teacher_of_ordinal_labels_on_unordered_classes,),
    "KD308": (raw_scores_of_unlike_teachers_averaged,),
}
