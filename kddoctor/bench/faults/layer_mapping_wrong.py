"""KD404: the feature loss pairs layers that do not belong together."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.hints import new_projector, watch
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Weight of the feature term.
WEIGHT = {Level.MILD: 20.0, Level.MODERATE: 30.0, Level.SEVERE: 45.0}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Embedding, nn.GRU, nn.LSTM, nn.Linear)


def _wrong_pairs(recipe: Recipe, weight: float, pairs: tuple[tuple[int, int], ...]) -> Recipe:
    """A hint, through projectors that learn, on numbered layers of the student and of the teacher."""
    parameters = recipe.parameters

    def before(session: Session) -> None:
        watch(session)
        kept = session.notes["layers"] = {}
        for role, model in (("student", session.student), ("teacher", session.teacher)):
            layers = [module for module in model.modules() if isinstance(module, WEIGHTED)]
            for number in {pair[0 if role == "student" else 1] for pair in pairs}:
                _keep(kept, (role, number), layers[number])
        for model in (session.student, session.teacher):
            with torch.no_grad():
                model(session.train.tensors[0][:2])
        session.notes["projectors"] = nn.ModuleList(
            new_projector(kept["student", student].shape[1], kept["teacher", teacher].shape[1])
            for student, teacher in pairs
        )

    def with_projectors(session: Session) -> Iterable[nn.Parameter]:
        return [*parameters(session), *session.notes["projectors"].parameters()]

    def hint(session: Session, _batch: Batch) -> Tensor:
        kept, projectors = session.notes["layers"], session.notes["projectors"]
        terms = [
            _distance(projector(kept["student", student]), kept["teacher", teacher].detach())
            for projector, (student, teacher) in zip(projectors, pairs, strict=True)
        ]
        return torch.stack(terms).mean()

    return replace(
        recipe,
        before=in_turn(recipe.before, before),
        parameters=with_projectors,
        hint=hint,
        hint_weight=weight,
    )


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of rows that are normalised, so that no scale matters."""
    return F.mse_loss(F.layer_norm(student, student.shape[1:]), F.layer_norm(teacher, teacher.shape[1:]))


def _keep(kept: dict[tuple[str, int], Tensor], key: tuple[str, int], layer: nn.Module) -> None:
    """Rows of features of a layer's every pass; of a sequence or an image, its mean."""

    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        features = output if isinstance(output, Tensor) else output[0]
        kept[key] = features.flatten(2).mean(2) if features.ndim == 4 else features.flatten(1)

    layer.register_forward_hook(keep)


def counted_from_the_embeddings(recipe: Recipe, level: Level) -> Recipe:
    """Layer 0 of the teacher's outputs is its embedding or stem; the student's last layer is held against it."""
    return _wrong_pairs(recipe, WEIGHT[level], ((-1, 0),))


def listed_backwards(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's layers are listed from the top, the student's from the bottom."""
    return _wrong_pairs(recipe, WEIGHT[level], ((0, -1), (-1, 0)))


FAULT = Fault(
    "KD404",
    seen=(counted_from_the_embeddings,),
    unseen=(listed_backwards,),
    kinds=("multiclass", "tokens"),
)
