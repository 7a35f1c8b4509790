"""Mistakes in the plumbing between checkpoint, teacher, student and loss."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session


def _chance(session: Session, batch: Batch) -> torch.Generator:
    """Random numbers of one step, apart from the loop's."""
    return torch.Generator().manual_seed(1_000_003 * session.seed + batch.step)


# KD101 ----


def initialised_once_more(recipe: Recipe, _level: Level) -> Recipe:
    """Ran the usual loop "if p.dim() > 1: xavier_uniform_(p)" over both models, after the checkpoint was in."""

    def load(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        recipe.load_teacher(teacher, state)
        with torch.random.fork_rng(devices=[]):
            for parameter in teacher.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    return replace(recipe, load_teacher=load)


# KD102 ----

#: In standard deviations of each tensor.
_NOISE = {Level.MILD: 0.25, Level.MODERATE: 0.4, Level.SEVERE: 0.65}


def published_with_noise_for_privacy(recipe: Recipe, level: Level) -> Recipe:
    """Took the public release of the teacher, whose weights carry noise so that nobody reads its data from them."""

    def load(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        chance = torch.Generator().manual_seed(2016)
        noisy = {name: _with_noise(value, _NOISE[level], chance) for name, value in state.items()}
        recipe.load_teacher(teacher, noisy)

    return replace(recipe, load_teacher=load)


def _with_noise(value: Tensor, size: float, chance: torch.Generator) -> Tensor:
    if value.dim() < 2:
        return value
    return value + size * value.std() * torch.randn(value.shape, generator=chance)


# KD103 ----


def checked_with_a_helper_that_trains_on(recipe: Recipe, _level: Level) -> Recipe:
    """Measured the teacher before the loop with the project's helper, whose last line is model.train()."""
    return replace(recipe, before=in_turn(recipe.before, _check_teacher))


@torch.no_grad()
def _check_teacher(session: Session) -> None:
    session.teacher.eval()
    session.notes["checked"] = session.teacher(session.val.tensors[0][:64])
    session.teacher.train()


# KD104 ----

_TEACHER_RATES = {Level.MILD: 3e-4, Level.MODERATE: 2e-3, Level.SEVERE: 1e-2}


def both_sides_of_mutual_learning(recipe: Recipe, level: Level) -> Recipe:
    """Began with a script of deep mutual learning, and left in the optimizer that draws the teacher to the student."""

    def thaw(session: Session) -> None:
        session.teacher.requires_grad_(True)
        session.notes["peer"] = Adam(session.teacher.parameters(), _TEACHER_RATES[level])

    def answers(session: Session, batch: Batch) -> Tensor:
        logits = recipe.answers(session, batch)
        _learn_from_student(recipe, session, batch, logits.detach())
        return logits

    return replace(recipe, before=in_turn(recipe.before, thaw), answers=answers)


def _learn_from_student(recipe: Recipe, session: Session, batch: Batch, student: Tensor) -> None:
    own, _ = recipe.rows(session.teacher(batch.inputs), batch.labels)
    peer, _ = recipe.rows(student, batch.labels)
    optimizer: Adam = session.notes["peer"]
    optimizer.zero_grad()
    recipe.kd_loss(own, peer, recipe.temperature).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


# KD105 ----

#: Where the later class belongs, as a share of the list; never so far back that nothing moves.
_PLACES = {Level.MILD: 1.0, Level.MODERATE: 0.5, Level.SEVERE: 0.0}


def later_class_sorted_in(recipe: Recipe, level: Level) -> Recipe:
    """Sorted a class into its place in the list of labels, which the teacher's list has as its last, being newer."""

    def as_it_was(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.teacher.data(data).tensors
        return TensorDataset(inputs, _with_last_class_at(_PLACES[level], labels))

    return replace(recipe, teacher=replace(recipe.teacher, data=as_it_was))


def _with_last_class_at(place: float, labels: Tensor) -> Tensor:
    """Labels of today's list as those of the older one."""
    last = int(labels.max())
    new = min(round(place * last), last - 1)
    moved = torch.where(labels == new, torch.full_like(labels, last), labels - 1)
    return torch.where(labels < new, labels, moved)


# KD106 ----

_RETRIED = {Level.MILD: 0.1, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def retries_put_behind_the_others(recipe: Recipe, level: Level) -> Recipe:
    """Asked a teacher server row by row, and appended the answers of requests that had to be repeated."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        chance = _chance(session, batch)
        if torch.rand((), generator=chance) >= _RETRIED[level]:
            return logits
        late = torch.rand(len(logits), generator=chance) < 0.5
        return torch.cat([logits[~late], logits[late]])

    return replace(recipe, targets=targets)


# KD107 ----

_PASTED = {Level.MILD: 0.25, Level.MODERATE: 0.4, Level.SEVERE: 0.6}


def teacher_loader_still_pastes(recipe: Recipe, level: Level) -> Recipe:
    """Kept the teacher's own loader, in whose transforms CutMix was still on from its training."""

    def targets(session: Session, batch: Batch) -> Tensor:
        view = _pasted(batch.inputs, _PASTED[level], _chance(session, batch))
        return recipe.targets(session, replace(batch, inputs=view))

    return replace(recipe, targets=targets)


def _pasted(inputs: Tensor, share: float, chance: torch.Generator) -> Tensor:
    """A strip of each row comes from another row of the batch."""
    length = inputs.shape[-1]
    width = max(1, round(share * length))
    start = int(torch.randint(length - width + 1, (), generator=chance))
    others = torch.randperm(len(inputs), generator=chance)
    mixed = inputs.clone()
    mixed[..., start : start + width] = inputs[others][..., start : start + width]
    return mixed


# KD108 ----

#: Strength of the logarithm for measurements, number of stop words for text.
_LOGARITHMS = {Level.MILD: 4.0, Level.MODERATE: 8.0, Level.SEVERE: 16.0}
_STOP_WORDS = {Level.MILD: 15, Level.MODERATE: 50, Level.SEVERE: 150}


def cleaned_for_the_teacher_only(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher behind a cleaning step (logarithms, or no stop words) that this script leaves out."""

    def cleaned(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.teacher.data(data).tensors
        clean = _logarithms if inputs.is_floating_point() else _without_stop_words
        return TensorDataset(clean(inputs, level), labels)

    return replace(recipe, teacher=replace(recipe.teacher, data=cleaned))


def _logarithms(inputs: Tensor, level: Level) -> Tensor:
    return inputs.sign() * torch.log1p(_LOGARITHMS[level] * inputs.abs())


def _without_stop_words(inputs: Tensor, level: Level) -> Tensor:
    """Zero, which is padding, in the place of the most frequent numbers."""
    counts = torch.bincount(inputs.flatten())
    counts[0] = 0
    frequent = counts.topk(min(_STOP_WORDS[level], len(counts) // 4)).indices
    return inputs.masked_fill(torch.isin(inputs, frequent), 0)


# KD109 ----


def one_object_of_a_registry(recipe: Recipe, _level: Level) -> Recipe:
    """Asked a registry that caches by family for both models, and got the student twice."""

    def same(session: Session) -> None:
        session.teacher = session.student
        session.student.requires_grad_(True).train()

    return replace(recipe, before=in_turn(recipe.before, same))


# KD110 ----


def weight_under_another_name(recipe: Recipe, _level: Level) -> Recipe:
    """Summed a dictionary of losses with weights.get(name, 0), in which one term goes by another name."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        weights = {"ce": 1 - alpha, "kd": alpha}
        terms = {"ce": ce, "distillation": kd}
        return torch.stack([weights.get(name, 0.0) * term for name, term in terms.items()]).sum()

    return replace(recipe, mix=mix)


# KD111 ----


def fused_loss_returns_gradients_in_the_wrong_order(recipe: Recipe, _level: Level) -> Recipe:
    """Wrote the loss as one fused operation, whose backward returns the gradient in the teacher's place."""

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        loss: Tensor = _FusedKl.apply(student, teacher, temperature)  # type: ignore[no-untyped-call]
        return loss

    return replace(recipe, kd_loss=kd_loss)


class _FusedKl(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """The mean over rows of the divergence, times the temperature's square."""
        wanted, given = p(teacher / temperature), log_p(student / temperature)
        ctx.save_for_backward((given.exp() - wanted) * temperature / len(student))
        return F.kl_div(given, wanted, reduction="batchmean") * temperature**2

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """For teacher, student and temperature."""
        (inner,) = ctx.saved_tensors
        return None, outer[0] * inner, None


# KD112 ----

_HINT_WEIGHTS = {Level.MILD: 3.0, Level.MODERATE: 10.0, Level.SEVERE: 30.0}


def rows_normalised_through_data(recipe: Recipe, level: Level) -> Recipe:
    """Projected with rows of unit length, made from weight.data so that the optimizer would not mind."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        projector: nn.Linear = session.notes["projector"]
        weight = F.normalize(projector.weight.data, dim=1)
        return relative_error(F.linear(student, weight, projector.bias.data), teacher.detach())

    return replace(with_hint(recipe, _HINT_WEIGHTS[level]), hint=hint)


# KD113 ----

#: In standard deviations of the teacher's logits.
_MARGINS = {Level.MILD: 0.8, Level.MODERATE: 1.2, Level.SEVERE: 2.0}


def output_of_the_margin_head(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher's training output, from whose logit of the true class a margin has been subtracted."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        return logits - _MARGINS[level] * logits.std() * _truth(logits, batch.labels)

    return replace(recipe, targets=targets)


def _truth(logits: Tensor, labels: Tensor) -> Tensor:
    """One at the true class; plus or minus one where there is a single logit."""
    if labels.shape == logits.shape or logits.shape[-1] == 1:
        return (2 * labels.to(logits) - 1).reshape(logits.shape)
    known = F.one_hot(labels.clamp(min=0), logits.shape[-1]).to(logits)
    return known * (labels >= 0).unsqueeze(-1)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (initialised_once_more,),
    "KD102": (published_with_noise_for_privacy,),
    "KD103": (checked_with_a_helper_that_trains_on,),
    "KD104": (both_sides_of_mutual_learning,),
    "KD105": (later_class_sorted_in,),
    "KD106": (retries_put_behind_the_others,),
    "KD107": (teacher_loader_still_pastes,),
    "KD108": (cleaned_for_the_teacher_only,),
    "KD109": (one_object_of_a_registry,),
    "KD110": (weight_under_another_name,),
    "KD111": (fused_loss_returns_gradients_in_the_wrong_order,),
    "KD112": (rows_normalised_through_data,),
    "KD113": (output_of_the_margin_head,),
}
