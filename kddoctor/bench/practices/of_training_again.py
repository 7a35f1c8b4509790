"""Sound distillations around optimisation, data, models and evaluation, as they occur in papers and repositories."""

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import TensorDataset

from kddoctor.bench.losses import p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.variant import Variant

#: Lookahead: fast steps between two slow ones, and how far a slow one goes.
FAST_STEPS, SLOW_STEP = 5, 0.5
#: The last part of the epochs that is averaged.
AVERAGED = 0.25
#: Radius of a sharpness-aware step.
RADIUS = 0.05
#: Bound on each element of the gradient.
LARGEST = 0.05
#: The learning rate of each layer, as a part of that of the layer above it.
LAYER_DECAY = 0.85
#: How often the added residual branch is skipped.
SKIPPED = 0.2
#: Rank of a factorised layer, as a part of its smaller side.
RANK = 0.6
#: Part of the rows whose labels the teacher finds least likely.
FILTERED = 0.04
#: Part of the rows of a batch, the hardest, that the labels' term keeps.
HARDEST = 0.7
#: Degrees an image is turned, either way; part of the words that a text loses, and the number they become.
TURNED, LOST, UNKNOWN = 6.0, 0.05, 1
#: Largest whole number of a signed byte.
INT8 = 127
#: The first half of a text is rounded to whole phrases.
PHRASE = 5


def _groups(groups: list[dict[str, Any]]) -> Iterable[nn.Parameter]:
    """Parameter groups, which the optimizer takes in place of parameters."""
    return cast(Iterable[nn.Parameter], groups)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Set a submodule by its dotted name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def _linear(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]


# Optimisation ---------------------------------------------------------------------------------------------


def lookahead(recipe: Recipe) -> Recipe:
    """Lookahead: after every five steps the weights go back half the way to where they were (arXiv:1907.08610)."""

    @torch.no_grad()
    def step_slowly(session: Session) -> None:
        slow = session.notes.setdefault("slow", [w.detach().clone() for w in session.student.parameters()])
        for kept, weight in zip(slow, session.student.parameters(), strict=True):
            kept.lerp_(weight, SLOW_STEP)
            weight.copy_(kept)

    def targets(session: Session, batch: Batch) -> Tensor:
        if batch.step % FAST_STEPS == 0:
            step_slowly(session)
        return recipe.targets(session, batch)

    return replace(recipe, targets=targets, after=step_slowly, epochs=recipe.epochs + recipe.epochs // 2)


@torch.no_grad()
def _recalibrate(session: Session) -> None:
    """Statistics of batch normalisation measured anew on the training rows."""
    norms = [module for module in session.student.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    session.student.train()
    for rows in batches(len(session.train), session.batch_size, torch.Generator().manual_seed(session.seed)):
        session.student(session.train.tensors[0][rows])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def stochastic_weight_averaging(recipe: Recipe) -> Recipe:
    """The weights of the last quarter of the epochs averaged, then BatchNorm's statistics measured anew (SWA)."""
    first = recipe.epochs - max(1, round(AVERAGED * recipe.epochs)) + 1

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        if session.notes["epoch"] >= first:
            keep(session)

    def keep(session: Session) -> None:
        session.notes.setdefault("kept", []).append([w.detach().clone() for w in session.student.parameters()])

    def after(session: Session) -> None:
        keep(session)
        means = [torch.stack(weights).mean(0) for weights in zip(*session.notes["kept"], strict=True)]
        with torch.no_grad():
            for weight, mean in zip(session.student.parameters(), means, strict=True):
                weight.copy_(mean)
        _recalibrate(session)
        recipe.after(session)

    return replace(recipe, before_epoch=before_epoch, after=after)


def sharpness_aware(recipe: Recipe) -> Recipe:
    """Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest (arXiv:2010.01412)."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        session.notes["teacher"] = logits
        return logits

    def answers(session: Session, batch: Batch) -> Tensor:
        weights = dict(session.student.named_parameters())
        student, labels = recipe.rows(recipe.answers(session, batch), batch.labels)
        teacher, _ = recipe.rows(session.notes["teacher"], batch.labels)
        kd = recipe.kd_loss(student, teacher, recipe.temperature)
        loss = recipe.mix(recipe.ce_loss(student, labels), kd, recipe.alpha)
        uphill = torch.autograd.grad(loss, list(weights.values()))
        length = torch.stack([part.norm() for part in uphill]).norm() + 1e-12
        moved = {name: w + RADIUS * part / length for (name, w), part in zip(weights.items(), uphill, strict=True)}
        logits: Tensor = functional_call(session.student, moved, (batch.inputs,))
        return logits

    return replace(recipe, targets=targets, answers=answers)


def _small(gradient: Tensor) -> Tensor:
    return gradient.clamp(-LARGEST, LARGEST)


def values_clipped(recipe: Recipe) -> Recipe:
    """Every element of the gradient clipped to a small range."""

    def before(session: Session) -> None:
        recipe.before(session)
        for parameter in session.student.parameters():
            parameter.register_hook(_small)  # type: ignore[no-untyped-call]

    return replace(recipe, before=before)


def layer_wise_rates(recipe: Recipe) -> Recipe:
    """Each layer learns a little more slowly than the one above it, as in fine-tuning of transformers."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        layers = [list(module.parameters(recurse=False)) for module in session.student.modules()]
        layers = [layer for layer in layers if layer]
        rates = [recipe.learning_rate * LAYER_DECAY ** (len(layers) - 1 - depth) for depth in range(len(layers))]
        return _groups([{"params": layer, "lr": rate} for layer, rate in zip(layers, rates, strict=True)])

    return replace(recipe, parameters=parameters, epochs=recipe.epochs + recipe.epochs // 2)


def bfloat16_autocast(recipe: Recipe) -> Recipe:
    """Mixed precision: both models run under autocast to bfloat16, the losses in float32."""

    def targets(session: Session, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return recipe.targets(session, batch).float()

    def answers(session: Session, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return recipe.answers(session, batch).float()

    return replace(recipe, targets=targets, answers=answers)


# Models ---------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A residual branch of one hidden layer that training skips now and then (stochastic depth)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, rows: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        if not self.training:
            return rows + (1 - SKIPPED) * cast(Tensor, self.branch(rows))
        return rows if torch.rand(()) < SKIPPED else rows + cast(Tensor, self.branch(rows))


def residual_with_stochastic_depth(recipe: Recipe) -> Recipe:
    """A residual block in front of the student's head, skipped at random in training (arXiv:1603.09382)."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = _linear(student)[-1]
        _put(student, name, nn.Sequential(Residual(head.in_features), head))
        return student

    return replace(recipe, change_student=change_student)


def low_rank_layer(recipe: Recipe) -> Recipe:
    """The student's largest linear layer as the product of two thinner ones."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, wide = max(_linear(student), key=lambda named: named[1].weight.numel())
        rank = math.ceil(RANK * min(wide.weight.shape))
        thin = nn.Linear(wide.in_features, rank, bias=False)
        _put(student, name, nn.Sequential(thin, nn.Linear(rank, wide.out_features, bias=wide.bias is not None)))
        return student

    return replace(recipe, change_student=change_student, epochs=recipe.epochs + recipe.epochs // 2)


def every_second_layer(recipe: Recipe) -> Recipe:
    """A student cut from the teacher with every second of its blocks, as DistilBERT was (arXiv:1910.01108)."""

    def make_student(teacher: nn.Module) -> nn.Module:
        student = copy.deepcopy(teacher).requires_grad_(True)
        for name, stack in list(student.named_modules()):
            alike = {type(block) for block in stack.children()}
            if isinstance(stack, nn.Sequential | nn.ModuleList) and len(stack) > 1 and len(alike) == 1:
                kept = list(stack.children())[::2]
                _put(student, name, nn.Sequential(*kept) if isinstance(stack, nn.Sequential) else nn.ModuleList(kept))
        return student

    return replace(recipe, make_student=make_student, learning_rate=0.1 * recipe.learning_rate)


@torch.no_grad()
def _in_eight_bits(session: Session) -> None:
    for weight in session.student.parameters():
        if weight.ndim > 1:
            step = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True).clamp_min(1e-8) / INT8
            weight.copy_((weight / step).round().clamp(-INT8, INT8) * step)


def int8_weights(recipe: Recipe) -> Recipe:
    """The trained student's weights rounded to eight bits, a scale for each output channel, and so evaluated."""

    def after(session: Session) -> None:
        recipe.after(session)
        _in_eight_bits(session)

    return replace(recipe, after=after)


# Data and evaluation --------------------------------------------------------------------------------------


def _reduced(inputs: Tensor) -> Tensor:
    """Images at half their resolution, blown up again; texts cut after half of their words."""
    if inputs.ndim == 4:
        size = cast(tuple[int, int], inputs.shape[-2:])
        return F.interpolate(F.avg_pool2d(inputs, 2), size=size, mode="nearest")
    return inputs[:, : PHRASE * (inputs.shape[1] // 2 // PHRASE)]


def growing_inputs(recipe: Recipe) -> Recipe:
    """Progressive resizing: half the resolution or length for both models in the first third of the epochs."""

    def sized(batch: Batch) -> Batch:
        return replace(batch, inputs=_reduced(batch.inputs)) if batch.epoch < recipe.epochs // 3 else batch

    def targets(session: Session, batch: Batch) -> Tensor:
        return recipe.targets(session, sized(batch))

    def answers(session: Session, batch: Batch) -> Tensor:
        return recipe.answers(session, sized(batch))

    return replace(recipe, targets=targets, answers=answers)


def doubtful_labels_dropped(recipe: Recipe) -> Recipe:
    """The few training rows whose labels the teacher finds least likely are dropped before training."""

    def before(session: Session) -> None:
        recipe.before(session)
        rows, labels = recipe.rows(session.cached_by_row, session.train.tensors[1])
        likely = p(rows).gather(1, labels[:, None])[:, 0]
        kept = likely.argsort()[int(FILTERED * len(likely)) :].sort().values
        session.train = TensorDataset(*(tensor[kept] for tensor in session.train.tensors))
        del session.cached_by_row

    return replace(recipe, before=before)


def hard_examples(recipe: Recipe) -> Recipe:
    """Online hard example mining: the labels' term is the mean over the hardest rows of a batch (arXiv:1604.03540)."""

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        by_row = F.cross_entropy(student, labels, reduction="none")
        return by_row.topk(math.ceil(HARDEST * len(by_row))).values.mean()

    return replace(recipe, ce_loss=ce_loss)


def _turned(images: Tensor) -> Tensor:
    angle = torch.deg2rad(torch.empty(len(images)).uniform_(-TURNED, TURNED))
    none = torch.zeros_like(angle)
    rows = ((angle.cos(), -angle.sin(), none), (angle.sin(), angle.cos(), none))
    grid = F.affine_grid(torch.stack([torch.stack(row, 1) for row in rows], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def light_augmentation(recipe: Recipe) -> Recipe:
    """Images turned by a few degrees, or some words of a text made unknown; drawn anew, and the same for both."""

    def augment(inputs: Tensor) -> Tensor:
        inputs = recipe.augment(inputs)
        if inputs.ndim == 4:
            return _turned(inputs)
        return inputs.masked_fill((torch.rand(inputs.shape) < LOST) & (inputs > UNKNOWN), UNKNOWN)

    return replace(recipe, augment=augment, epochs=2 * recipe.epochs)


#: Where the variants were measured and end within a point of the plain recipe. Clothes, cloze, language and spelling
#: were not measured.
MEASURED = ("digits", "newsgroups", "movielens", "profiles", "clicks", "sentiment")
WITH_PHOTOGRAPHS = (*MEASURED, "photographs")
WITH_VOWELS = (*MEASURED, "vowels")
#: Those among them whose students end in a linear layer over features.
HEADED = ("digits", "newsgroups", "profiles", "photographs", "sentiment")

VARIANTS: tuple[Variant, ...] = (
    # On the photographs more than a point behind the plain recipe, as are five others below.
    Variant("lookahead", lookahead, tasks=WITH_VOWELS),
    Variant("stochastic weight averaging", stochastic_weight_averaging, tasks=(*WITH_PHOTOGRAPHS, "vowels")),
    Variant("sharpness-aware steps", sharpness_aware, tasks=WITH_VOWELS),
    Variant("gradient values clipped", values_clipped, tasks=WITH_VOWELS),
    Variant("layer-wise rates", layer_wise_rates, tasks=WITH_VOWELS),
    Variant("bfloat16 autocast", bfloat16_autocast, tasks=(*WITH_PHOTOGRAPHS, "vowels")),
    Variant("residual with stochastic depth", residual_with_stochastic_depth, tasks=HEADED),
    Variant("low-rank layer", low_rank_layer, tasks=("digits", "profiles", "clicks")),
    Variant("every second teacher layer", every_second_layer, tasks=("profiles", "clicks")),
    Variant("int8 weights after training", int8_weights, tasks=MEASURED),
    Variant("growing inputs", growing_inputs, tasks=("digits", "newsgroups", "photographs", "sentiment")),
    Variant("doubtful labels dropped", doubtful_labels_dropped, tasks=WITH_PHOTOGRAPHS),
    Variant("hard examples in the labels term", hard_examples, tasks=MEASURED),
    Variant("light augmentation", light_augmentation, tasks=("digits", "newsgroups", "sentiment")),
)
