"""KD104: the teacher learns along with the student."""

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Share of the teacher's parameters, from the last one, that were left out of the freeze.
SHARE = {Level.MILD: 0.0, Level.MODERATE: 0.5, Level.SEVERE: 1.0}
#: Share of the epochs after which a callback for gradual unfreezing takes hold of the teacher as well.
FROZEN_FOR = {Level.MILD: 0.7, Level.MODERATE: 0.4, Level.SEVERE: 0.1}


def _with_gradients(session: Session, batch: Batch) -> Tensor:
    logits: Tensor = session.teacher(batch.inputs)
    return logits


def both_in_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """One module holds both, the optimizer gets all its parameters, and only the teacher's lower part is frozen."""

    def before(session: Session) -> None:
        session.teacher.eval()
        session.student.train()
        parameters = list(session.teacher.parameters())
        free = max(2, round(SHARE[level] * len(parameters)))
        for parameter in parameters[:-free]:
            parameter.requires_grad_(False)

    return replace(recipe, before=before, parameters=_all_parameters, targets=_with_gradients)


def unfrozen_by_a_callback(recipe: Recipe, level: Level) -> Recipe:
    """Frozen at first; then a callback that unfreezes the student's layers unfreezes everything it finds."""

    def before_epoch(session: Session) -> None:
        recipe.before_epoch(session)
        epoch = session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        if epoch >= round(FROZEN_FOR[level] * recipe.epochs):
            nn.ModuleList([session.student, session.teacher]).requires_grad_(True)

    return replace(recipe, before_epoch=before_epoch, parameters=_all_parameters, targets=_with_gradients)


def _all_parameters(session: Session) -> Iterable[nn.Parameter]:
    return nn.ModuleList([session.student, session.teacher]).parameters()


FAULT = Fault("KD104", seen=(both_in_the_optimizer,), unseen=(unfrozen_by_a_callback,))
