"""Students that cannot be what they are asked to be: too small, strangled, or held to features that do not fit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, new_projector, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ---------------------------------------------------------------------------------------------------------------


def pure_imitation_by_a_much_thinner_student(recipe: Recipe, level: Level) -> Recipe:
    """Had a student a fraction of the size imitate the big teacher and nothing else."""
    width = {Level.MILD: 0.5, Level.MODERATE: 0.35, Level.SEVERE: 0.2}[level]
    return for_long(replace(recipe, width=width, alpha=1.0))


# KD402 ---------------------------------------------------------------------------------------------------------------


def student_shrunk_to_the_memory_budget(recipe: Recipe, level: Level) -> Recipe:
    """Shrank the student until it met the size budget, whatever it could then still learn."""
    return for_long(replace(recipe, width={Level.MILD: 0.3, Level.MODERATE: 0.2, Level.SEVERE: 0.15}[level]))


# KD403 ---------------------------------------------------------------------------------------------------------------


def unlike_features_resized_and_compared(recipe: Recipe, level: Level) -> Recipe:
    """Resized the teacher's features to the student's width and compared them unit by unit, with no projector."""
    weight = {Level.MILD: 0.5, Level.MODERATE: 3.0, Level.SEVERE: 20.0}[level]
    return replace(recipe, before=in_turn(recipe.before, watch), hint=_unit_by_unit, hint_weight=weight)


def _unit_by_unit(session: Session, batch: Batch) -> Tensor:
    student, teacher = features_that_count(session, batch)
    resized = F.interpolate(teacher.detach()[:, None], size=student.shape[-1], mode="linear")[:, 0]
    return F.mse_loss(student, resized)


# KD404 ---------------------------------------------------------------------------------------------------------------


def teacher_layers_listed_from_the_top(recipe: Recipe, level: Level) -> Recipe:
    """Paired the student's layers, first to last, with a list of the teacher's that runs from last to first."""
    weight = {Level.MILD: 2.0, Level.MODERATE: 10.0, Level.SEVERE: 50.0}[level]

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        return [*recipe.parameters(session), *session.notes["projectors"].parameters()]

    return replace(
        recipe,
        before=in_turn(recipe.before, _watch_layers),
        parameters=parameters,
        hint=_mirrored_pairs,
        hint_weight=weight,
    )


def _watch_layers(session: Session) -> None:
    """Keep what every layer of both models puts out, and a projector for each pair in ``notes``."""
    session.notes["kept"] = {"student": {}, "teacher": {}}
    for role, model in (("teacher", session.teacher), ("student", session.student)):
        for number, layer in enumerate(layers_of(model)[:-1]):  # the last is the head
            layer.register_forward_hook(_keeper(session.notes["kept"][role], number))
    with torch.no_grad():
        for model in (session.teacher, session.student):
            training = model.training
            model.eval()(session.train.tensors[0][:2])
            model.train(training)
    pairs = _pairs(session, session.train.tensors[1][:2])
    session.notes["projectors"] = nn.ModuleList(new_projector(s.shape[-1], t.shape[-1]) for s, t in pairs)


def _keeper(kept: dict[int, Tensor], number: int) -> Callable[..., None]:
    def keep(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept[number] = output[0] if isinstance(output, tuple) else output  # recurrent layers also return a state

    return keep


def _pairs(session: Session, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """[n, D] features of each of the student's layers and of the teacher's layer that it is held to."""
    student, teacher = (
        [_by_row(output, labels) for output in kept.values()] for kept in session.notes["kept"].values()
    )
    backwards = teacher[::-1]
    # The student has fewer layers: they are spread over the teacher's, and its last one gets the end of the list.
    steps = torch.linspace(len(backwards) - 1, 0, len(student)).flip(0).round().int().tolist()
    return [(features, backwards[at].detach()) for features, at in zip(student, steps, strict=True)]


def _by_row(output: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 2:
        by_token = output if output.shape[1] == labels.shape[1] else output.transpose(1, 2)
        return by_token[labels != IGNORED]
    return output.mean(1) if output.ndim == 3 else output.flatten(1)


def _mirrored_pairs(session: Session, batch: Batch) -> Tensor:
    """One minus the cosine of projected and teacher's features, mean over rows and pairs."""
    pairs = zip(session.notes["projectors"], _pairs(session, batch.labels), strict=True)
    cosines = [F.cosine_similarity(project(student), teacher, dim=-1).mean() for project, (student, teacher) in pairs]
    return 1 - torch.stack(cosines).mean()


# KD405 ---------------------------------------------------------------------------------------------------------------


def embedding_for_the_plot_left_before_the_head(recipe: Recipe, level: Level) -> Recipe:
    """Put a layer of very few units before the student's head, to plot the embedding, and left it there."""
    units = {Level.MILD: 6, Level.MODERATE: 4, Level.SEVERE: 2}[level]

    def with_embedding(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        name, head = [(name, layer) for name, layer in student.named_modules() if isinstance(layer, nn.Linear)][-1]
        narrow = nn.Sequential(nn.Linear(head.in_features, units), nn.Linear(units, head.out_features))
        student.set_submodule(name, narrow)
        return student

    return replace(recipe, change_student=with_embedding)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (pure_imitation_by_a_much_thinner_student,),
    "KD402": (student_shrunk_to_the_memory_budget,),
    "KD403": (unlike_features_resized_and_compared,),
    "KD404": (teacher_layers_listed_from_the_top,),
    "KD405": (embedding_for_the_plot_left_before_the_head,),
}
