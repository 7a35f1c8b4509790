"""KD104: the teacher learns along with the student."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Learning rate of the teacher's parameters, as a share of the student's.
RATE = {Level.MILD: 1e-4, Level.MODERATE: 2e-4, Level.SEVERE: 5e-3}
#: The same where they learn for the last part of the run only, and that part of the epochs.
LATE_RATE = {Level.MILD: 2e-3, Level.MODERATE: 1e-2, Level.SEVERE: 3e-2}
LATE = 0.5


def _live(session: Session, batch: Batch) -> Tensor:
    logits: Tensor = session.teacher(batch.inputs)
    return logits


def both_in_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """One module holds both; the optimizer gets all its parameters, at a lower rate those that were pre-trained."""

    def before(session: Session) -> None:
        session.teacher.eval()
        session.student.train()

    return replace(
        recipe, before=before, parameters=_with_teacher_at(RATE[level] * recipe.learning_rate), targets=_live
    )


def unfrozen_by_a_callback(recipe: Recipe, level: Level) -> Recipe:
    """Frozen at first; then a callback that unfreezes the student's layers unfreezes everything it finds."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        epoch = session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        if epoch >= LATE * recipe.epochs:
            nn.ModuleList([session.student, session.teacher]).requires_grad_(True)

    rate = LATE_RATE[level] * recipe.learning_rate
    return replace(recipe, before_epoch=before_epoch, parameters=_with_teacher_at(rate), targets=_live)


def _with_teacher_at(rate: float) -> Callable[[Session], Iterable[nn.Parameter]]:
    def parameters(session: Session) -> Iterable[nn.Parameter]:
        groups = [{"params": session.student.parameters()}, {"params": session.teacher.parameters(), "lr": rate}]
        # Optimizers take groups as well, each with a rate of its own.
        return cast(Iterable[nn.Parameter], groups)

    return parameters


FAULT = Fault("KD104", seen=(both_in_the_optimizer,), unseen=(unfrozen_by_a_callback,))
