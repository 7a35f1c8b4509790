"""KD103: the teacher produces its targets in training mode."""

from dataclasses import replace

from torch import nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe, eval_and_freeze
from kddoctor.bench.session import Session


def wrapper_flips_both(recipe: Recipe, _level: Level) -> Recipe:
    """A module that holds both models is set to training mode at the start of each epoch."""

    def before_epoch(session: Session) -> None:
        nn.ModuleDict({"teacher": session.teacher, "student": session.student}).train()

    return replace(recipe, before_epoch=before_epoch)


def never_evaluated(recipe: Recipe, _level: Level) -> Recipe:
    """Frozen with requires_grad_(False), which somebody took for eval()."""

    def before(session: Session) -> None:
        session.teacher.train().requires_grad_(False)
        session.student.train()

    return replace(recipe, before=before)


def validation_restores_training(recipe: Recipe, _level: Level) -> Recipe:
    """The validation routine puts every model back into training mode; the first epoch is clean."""

    def before(session: Session) -> None:
        eval_and_freeze(session)
        session.notes["epochs"] = 0

    def before_epoch(session: Session) -> None:
        session.student.train()
        session.notes["epochs"] += 1
        if session.notes["epochs"] > 1:
            session.teacher.train()

    return replace(recipe, before=before, before_epoch=before_epoch)


def only_normalisation_frozen(recipe: Recipe, _level: Level) -> Recipe:
    """Normalisation alone is put into evaluation mode, as detectors do with a backbone; dropout stays active."""

    def before(session: Session) -> None:
        session.teacher.train().requires_grad_(False)
        for module in session.teacher.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                module.eval()
        session.student.train()

    return replace(recipe, before=before)


FAULT = Fault(
    "KD103",
    seen=(wrapper_flips_both, never_evaluated),
    unseen=(validation_restores_training, only_normalisation_frozen),
    knob=False,
)
