"""Mistakes of the codes KD4xx."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.layers import layers_of, weighted
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.schedules import for_long
from kddoctor.bench.session import Batch, Session

# KD401 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one, weight of the other classes' part, and factor on the temperature.
THINNER = {Level.MILD: 0.4, Level.MODERATE: 0.35, Level.SEVERE: 0.25}
OTHERS = {Level.MILD: 0.7, Level.MODERATE: 0.8, Level.SEVERE: 0.9}
HOTTER = 3.0


def other_classes_weighted_as_in_a_paper(recipe: Recipe, level: Level) -> Recipe:
    """The divergence is decoupled, and how a large teacher ranks the wrong classes counts several times as much.

    The student is small and has no labels beside it. The method: Zhao et al. 2022, arXiv:2203.08679.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        best = F.one_hot(teacher.argmax(1), teacher.shape[1]).bool()
        (ours, our_others), (theirs, their_others) = (_decoupled(logits / t, best) for logits in (student, teacher))
        of_the_best = (theirs.exp() * (theirs - ours)).sum(1).mean()
        of_the_others = F.kl_div(log_p(our_others), p(their_others), reduction="batchmean")
        return torch.lerp(of_the_best, of_the_others, OTHERS[level]) * t * t

    return replace(
        for_long(recipe),
        width=recipe.width * THINNER[level],
        alpha=1.0,
        loss="custom",
        temperature=recipe.temperature * HOTTER,
        kd_loss=kd_loss,
    )


def _decoupled(logits: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 2] log-probabilities of the best class and of any other, and [n, C - 1] logits of the others."""
    others = logits[~best].view(len(logits), -1)
    return log_p(torch.stack([logits[best], others.logsumexp(1)], dim=1)), others


# KD402 ----------------------------------------------------------------------------------------------------------------

#: Width of the student as a share of the usual one.
NARROWER = {Level.MILD: 0.8, Level.MODERATE: 0.4, Level.SEVERE: 0.2}


class Conductances(nn.Module):
    """Weights of which none is negative."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        return weight.abs()


def conductances_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """For an analog chip each weight is one conductance, where two make a signed weight; few units, trained long."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in weighted(student):
            register_parametrization(layer, "weight", Conductances())
        return student

    return replace(
        for_long(recipe),
        change_student=change_student,
        width=recipe.width * NARROWER[level],
    )


# KD403 ----------------------------------------------------------------------------------------------------------------

#: Weight of the term.
FLOW = {Level.MILD: 0.3, Level.MODERATE: 2.0, Level.SEVERE: 20.0}


def flow_from_units_to_answers(recipe: Recipe, level: Level) -> Recipe:
    """How each unit goes with each logit is to be as in the teacher, whose units, resized, are of another kind.

    The method, for two layers of networks of one family: Yim et al. 2017, "A Gift from Knowledge Distillation".
    """

    def attach(session: Session) -> None:
        watch(session)
        answers: dict[str, Tensor] = {}
        session.notes["answers"] = answers
        for role, model in (("teacher", session.teacher), ("student", session.student)):
            model.register_forward_hook(partial(_keep_answers, answers, role))

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        ours, theirs = (recipe.rows(session.notes["answers"][role], batch.labels)[0] for role in ("student", "teacher"))
        wanted = teacher.detach().t() @ theirs.detach() / len(teacher)
        resized = F.interpolate(wanted.t()[None], student.shape[1], mode="nearest")[0].t()
        return relative_error(student.t() @ ours / len(student), resized)

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=FLOW[level])


def _keep_answers(kept: dict[str, Tensor], role: str, _model: nn.Module, _inputs: object, logits: Tensor) -> None:
    kept[role] = logits


# KD404 ----------------------------------------------------------------------------------------------------------------

#: Weight of a term that is one where two layers have nothing in common.
ALIGNED = {Level.MILD: 2.0, Level.MODERATE: 10.0, Level.SEVERE: 60.0}
Kept = dict[int, Tensor]


def inputs_and_outputs_in_one_list(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's hook keeps what each layer is given and gives: a student's layer meets one half as deep."""

    def attach(session: Session) -> None:
        ours: Kept = {}
        theirs: Kept = {}
        session.notes["ours"], session.notes["theirs"] = ours, theirs
        for number, layer in enumerate(layers_of(session.student)):
            layer.register_forward_hook(_keeper(ours, None, number))
        for number, layer in enumerate(layers_of(session.teacher)):
            layer.register_forward_hook(_keeper(theirs, 2 * number, 2 * number + 1))

    def hint(session: Session, _batch: Batch) -> Tensor:
        ours, theirs = session.notes["ours"], session.notes["theirs"]
        pairs = [(ours[number], theirs[number].detach()) for number in sorted(ours) if number in theirs]
        return torch.stack([1 - _alignment(student, teacher) for student, teacher in pairs]).mean()

    return replace(recipe, before=in_turn(recipe.before, attach), hint=hint, hint_weight=ALIGNED[level])


def _keeper(
    kept: Kept, given: int | None, put_out: int
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor | tuple[Tensor, ...]], None]:
    def keep(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        if given is not None:
            kept[given] = inputs[0].flatten(1).float()
        kept[put_out] = (output if isinstance(output, Tensor) else output[0]).flatten(1)

    return keep


def _alignment(student: Tensor, teacher: Tensor) -> Tensor:
    """Of the products of rows, which are centred. Source: Kornblith et al. 2019, arXiv:1905.00414."""
    one, other = (rows @ rows.t() for rows in (features - features.mean(0) for features in (student, teacher)))
    return F.cosine_similarity(one.flatten(), other.flatten(), dim=0)


# KD405 ----------------------------------------------------------------------------------------------------------------

#: Features up to which one more gated unit was put below the head.
NARROW = {Level.MILD: 16, Level.MODERATE: 8, Level.SEVERE: 4}


def gates_that_halve_the_width(recipe: Recipe, level: Level) -> Recipe:
    """Below the head are the gated units of a wider model, each of which leaves half the features that it is given."""

    def gate(_head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        features = inputs[0]
        width = features.shape[-1]
        while features.shape[-1] > NARROW[level]:
            features = F.glu(features[..., : features.shape[-1] // 2 * 2])
        return F.pad(features, (0, width - features.shape[-1]))

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        weighted(student)[-1].register_forward_pre_hook(gate)
        return student

    return replace(recipe, change_student=change_student)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD401": (other_classes_weighted_as_in_a_paper,),
    "KD402": (conductances_in_every_layer,),
    "KD403": (flow_from_units_to_answers,),
    "KD404": (inputs_and_outputs_in_one_list,),
    "KD405": (gates_that_halve_the_width,),
}
