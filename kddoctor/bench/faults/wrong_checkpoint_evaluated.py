"""KD701: the student that is evaluated is not the one that the training ended with."""

from copy import deepcopy
from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Part of the training after which the snapshot was taken.
TAKEN = {Level.MILD: 0.25, Level.MODERATE: 0.15, Level.SEVERE: 0.02}
#: Share of the tensors whose names the extraction does not find.
LOST = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 0.9}


def best_of_a_metric_that_stands_still(recipe: Recipe, level: Level) -> Recipe:
    """The best checkpoint is chosen by the teacher's metric, which never improves: an early one stays the best."""

    def keep(session: Session) -> None:
        epoch = session.notes["epoch"] = session.notes.get("epoch", -1) + 1
        if epoch == int(TAKEN[level] * recipe.epochs):
            session.notes["best"] = deepcopy(session.student.state_dict())

    def load_best(session: Session) -> None:
        session.student.load_state_dict(session.notes["best"])

    return replace(
        recipe,
        before_epoch=in_turn(recipe.before_epoch, keep),
        after=in_turn(recipe.after, load_best),
    )


def extracted_by_prefix(recipe: Recipe, level: Level) -> Recipe:
    """A new student is filled from the joint checkpoint, not strictly: some names, biases first, are not found."""

    def build(session: Session) -> None:
        session.notes["new"] = deepcopy(session.student.state_dict())

    def fill(session: Session) -> None:
        trained = session.student.state_dict()
        names = sorted(trained, key=lambda name: trained[name].ndim)
        lost = max(1, round(LOST[level] * len(names)))
        found = {name: trained[name].clone() for name in names[lost:]}
        session.student.load_state_dict(session.notes["new"])
        session.student.load_state_dict(found, strict=False)

    return replace(recipe, before=in_turn(recipe.before, build), after=in_turn(recipe.after, fill))


FAULT = Fault("KD701", seen=(best_of_a_metric_that_stands_still,), unseen=(extracted_by_prefix,))
