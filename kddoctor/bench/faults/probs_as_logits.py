"""KD205: the teacher's outputs are probabilities already, and are taken for logits."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session


def _probabilities(logits: Tensor) -> Tensor:
    return logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)


def served_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is called through a function that returns probabilities."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return _probabilities(run_teacher(session, batch))

    return replace(recipe, targets=targets)


def cached_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """Probabilities were cached by row, in half precision, and are read as logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "probabilities" not in session.notes:
            session.notes["probabilities"] = _probabilities(session.cached_by_row).to(torch.float16)
        cached: Tensor = session.notes["probabilities"][batch.rows]
        return cached.float()

    return replace(recipe, targets=targets)


def exported_with_softmax(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher was exported for deployment: its last layer is a softmax (a sigmoid for one logit)."""

    def last_layer(_teacher: nn.Module, _inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return _probabilities(logits)

    def export(session: Session) -> None:
        session.teacher.register_forward_hook(last_layer)

    return replace(recipe, before=in_turn(recipe.before, export))


FAULT = Fault(
    "KD205",
    seen=(served_probabilities,),
    unseen=(cached_probabilities, exported_with_softmax),
    knob=False,
)
