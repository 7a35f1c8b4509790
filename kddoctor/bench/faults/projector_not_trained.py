"""KD112: the layer between the student's and the teacher's features never learns."""

from dataclasses import replace

from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Weight of the feature loss.
WEIGHT = {Level.MILD: 3.0, Level.MODERATE: 10.0, Level.SEVERE: 30.0}


def left_out_of_the_optimizer(recipe: Recipe, level: Level) -> Recipe:
    """The optimizer was made from the student's parameters, and the projector is not one of its modules."""
    return replace(with_hint(recipe, WEIGHT[level]), parameters=recipe.parameters)


def made_anew_each_step(recipe: Recipe, level: Level) -> Recipe:
    """The loss makes its projector whenever it is called."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        session.notes["projector"] = nn.Linear(student.shape[-1], teacher.shape[-1])
        return relative_error(session.notes["projector"](student), teacher)

    return replace(with_hint(recipe, WEIGHT[level]), parameters=recipe.parameters, hint=hint)


FAULT = Fault("KD112", seen=(left_out_of_the_optimizer,), unseen=(made_anew_each_step,))
