"""KD305: the teacher's logits lie in a range that the student cannot reach, at a temperature that both share."""

from dataclasses import replace

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: Largest logit of the student.
LARGEST = {Level.MILD: 2.0, Level.MODERATE: 1.0, Level.SEVERE: 0.3}
#: Scale of a teacher's head whose logits are cosines.
SCALE = {Level.MILD: 3.0, Level.MODERATE: 8.0, Level.SEVERE: 24.0}


def bounded_student(recipe: Recipe, level: Level) -> Recipe:
    """The student's logits are squashed for the hardware that it is made for."""

    def squash(session: Session) -> None:
        largest = LARGEST[level]
        session.student.register_forward_hook(lambda _module, _inputs, logits: largest * (logits / largest).tanh())

    return replace(recipe, before=in_turn(recipe.before, squash))


def teacher_with_a_scale(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's head multiplies by a large scale, as heads trained with margins do; the temperature stays."""

    def scale(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: SCALE[level] * logits)

    return replace(recipe, before=in_turn(recipe.before, scale))


FAULT = Fault("KD305", seen=(teacher_with_a_scale,), unseen=(bounded_student,), kinds=("multiclass", "tokens"))
