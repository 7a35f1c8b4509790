"""A feature loss as it should be: a projector from the student's features to the teacher's, trained along with it."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

#: Weight of a sound hint; the loss is relative to the teacher's own variance, so that it starts near 1.
WEIGHT = 0.3


def with_hint(recipe: Recipe, weight: float = WEIGHT) -> Recipe:
    """The recipe with a hint on the features below the heads."""
    parameters = recipe.parameters

    def with_projector(session: Session) -> Iterable[nn.Parameter]:
        return [*parameters(session), *session.notes["projector"].parameters()]

    return replace(
        recipe,
        before=in_turn(recipe.before, watch),
        parameters=with_projector,
        hint=projected_distance,
        hint_weight=weight,
    )


def watch(session: Session) -> None:
    """Keep both models' features of every pass in ``notes["features"]``, and a new projector in ``notes``."""
    session.notes["features"] = {}
    for role, model in (("teacher", session.teacher), ("student", session.student)):
        _keep(role, model, session.notes["features"])
    widths = {role: features.shape[-1] for role, features in _of_two_rows(session).items()}
    session.notes["projector"] = new_projector(widths["student"], widths["teacher"])


def new_projector(student: int, teacher: int) -> nn.Linear:
    """A linear layer whose first weights leave the random numbers of the loop as they were."""
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(student, teacher)


def _keep(role: str, model: nn.Module, kept: dict[str, Tensor]) -> None:
    def keep(features: Tensor) -> None:
        kept[role] = features.flatten(1) if features.ndim > 3 else features

    *_, below, last = model.children()
    if isinstance(last, nn.Linear) and (isinstance(model, nn.Sequential) or hasattr(model, "head")):
        last.register_forward_pre_hook(lambda _module, inputs: keep(inputs[0]))
    else:
        below.register_forward_hook(lambda _module, _inputs, output: keep(output))


@torch.no_grad()
def _of_two_rows(session: Session) -> dict[str, Tensor]:
    for model in (session.teacher, session.student):
        training = model.training
        model.eval()(session.train.tensors[0][:2])
        model.train(training)
    return dict(session.notes["features"])


def features_that_count(session: Session, batch: Batch) -> tuple[Tensor, Tensor]:
    """[n, D] features of student and teacher in the last pass of each, ignored positions left out."""
    student, teacher = (session.notes["features"][role] for role in ("student", "teacher"))
    if batch.labels.ndim == 1:
        return student, teacher
    counts = batch.labels != IGNORED
    return student[counts], teacher[counts]


def projected_distance(session: Session, batch: Batch) -> Tensor:
    """Mean squared error of the projected features, in units of the teacher's variance."""
    student, teacher = features_that_count(session, batch)
    return relative_error(session.notes["projector"](student), teacher.detach())


def relative_error(projected: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over the variance of the target."""
    return F.mse_loss(projected, teacher) / teacher.var().clamp_min(1e-6)
