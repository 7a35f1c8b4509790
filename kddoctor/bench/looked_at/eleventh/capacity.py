"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import weighted
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ---------------------------------------------------------------------------------------------------------------

#: Values that a weight of the student may have on each side of zero; none: it is one of two values.
STEPS = {Level.MILD: 3, Level.MODERATE: 1, Level.SEVERE: 0}


class FewBits(nn.Module):
    """A weight of few bits in the forward pass, of which the gradient sees nothing."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid."""
        size = weight.detach().abs().mean()
        if self.steps == 0:
            grid = size * torch.where(weight < 0, -1.0, 1.0)
        else:
            unit = 1.5 * size / self.steps
            grid = (weight / unit).round().clamp(-self.steps, self.steps) * unit
        return weight + (grid - weight).detach()


def weights_of_few_bits_without_labels(recipe: Recipe, level: Level) -> Recipe:
    """A student with weights of few bits is to match a teacher in full precision, without the labels."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            parametrize.register_parametrization(layer, "weight", FewBits(STEPS[level]))
        return student

    return replace(for_long(recipe), alpha=1.0, change_student=change_student)


# KD402 ---------------------------------------------------------------------------------------------------------------

#: Share of the weights that a pruning leaves.
LEFT = {Level.MILD: 0.2, Level.MODERATE: 0.1, Level.SEVERE: 0.05}


def pruned_like_a_large_network(recipe: Recipe, level: Level) -> Recipe:
    """A student that is small already gets the sparsity that papers report for large ones, from the first step on."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for parameter in student.parameters():
            if parameter.ndim > 1:
                _prune(parameter, LEFT[level])
        return student

    return replace(for_long(recipe), change_student=change_student)


def _prune(parameter: nn.Parameter, left: float) -> None:
    kept = (torch.rand_like(parameter) < left).to(parameter.dtype)
    parameter.data.mul_(kept)
    parameter.register_hook(lambda gradient: gradient * kept)  # type: ignore[no-untyped-call]


# KD403 ---------------------------------------------------------------------------------------------------------------

#: Weight of the normalised distance between hidden states, from the grid of a paper on two models of one family.
HIDDEN = {Level.MILD: 10.0, Level.MODERATE: 100.0, Level.SEVERE: 500.0}


def hidden_states_pooled_to_one_width(recipe: Recipe, level: Level) -> Recipe:
    """As the widths differ, neighbouring units of the teacher are averaged until there are as many as the student's."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        pooled = F.adaptive_avg_pool1d(teacher.detach(), student.shape[1])
        return F.mse_loss(F.normalize(student, dim=1), F.normalize(pooled, dim=1))

    return replace(recipe, before=in_turn(recipe.before, watch), hint=hint, hint_weight=HIDDEN[level])


# KD404 ---------------------------------------------------------------------------------------------------------------

#: Weight of the feature term.
PAIRS = {Level.MILD: 10.0, Level.MODERATE: 25.0, Level.SEVERE: 50.0}
ROLES = ("student", "teacher")


def zipped_without_the_students_stem(recipe: Recipe, level: Level) -> Recipe:
    """Modules of both models are paired as they come; the student's first was left out, and zip stops early."""

    def before(session: Session) -> None:
        kept = session.notes["outputs"] = {"student": {}, "teacher": {}}
        leaves = {role: _leaves(getattr(session, role)) for role in ROLES}
        leaves["student"] = leaves["student"][1:]
        for role in ROLES:
            for number, module in enumerate(leaves[role]):
                module.register_forward_hook(_keeper(kept[role], number))
        _two_rows(session)
        session.notes["projectors"] = nn.ModuleList(
            new_projector(kept["student"][number].shape[1], kept["teacher"][number].shape[1])
            for number in range(min(map(len, leaves.values())))
        )

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [*recipe.parameters(session), *session.notes["projectors"].parameters()]

    return replace(
        recipe,
        before=in_turn(recipe.before, before),
        parameters=parameters,
        hint=_paired_distance,
        hint_weight=PAIRS[level],
    )


def _leaves(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if not [*module.children()] and not isinstance(module, nn.Flatten)]


def _keeper(kept: dict[int, Tensor], number: int) -> Callable[..., None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        features = output if isinstance(output, Tensor) else output[0]
        kept[number] = features.flatten(2).mean(2) if features.ndim == 4 else features.flatten(1)

    return keep


@torch.no_grad()
def _two_rows(session: Session) -> None:
    for model in (session.student, session.teacher):
        training = model.training
        model.eval()(session.train.tensors[0][:2])
        model.train(training)


def _paired_distance(session: Session, _batch: Batch) -> Tensor:
    """Mean over the pairs of the distance of the normalised features."""
    outputs, projectors = session.notes["outputs"], session.notes["projectors"]
    normal = partial(F.normalize, dim=1)
    terms = [
        (normal(projector(outputs["student"][at])) - normal(outputs["teacher"][at].detach())).square().sum(1).mean()
        for at, projector in enumerate(projectors)
    ]
    return torch.stack(terms).mean()


# KD405 ---------------------------------------------------------------------------------------------------------------

#: How many times narrower an adapter is than the features that it is put upon.
REDUCTION = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}


class Adapter(nn.Module):
    """Down, a nonlinearity, and up again."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        narrow = max(1, features // reduction)
        self.down, self.up = nn.Linear(features, narrow), nn.Linear(narrow, features)

    def forward(self, features: Tensor) -> Tensor:
        """[…, D] to […, D]."""
        adapted: Tensor = self.up(F.gelu(self.down(features)))
        return adapted


def adapter_without_its_skip(recipe: Recipe, level: Level) -> Recipe:
    """Below the student's head sits a large model's bottleneck adapter, and the connection around it is missing."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = [pair for pair in student.named_modules() if isinstance(pair[1], nn.Linear)][-1]
        parent, _, last = name.rpartition(".")
        adapted = nn.Sequential(Adapter(head.in_features, REDUCTION[level]), head)
        setattr(student.get_submodule(parent), last, adapted)
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (weights_of_few_bits_without_labels,),
    "KD402": (pruned_like_a_large_network,),
    "KD403": (hidden_states_pooled_to_one_width,),
    "KD404": (zipped_without_the_students_stem,),
    "KD405": (adapter_without_its_skip,),
}
