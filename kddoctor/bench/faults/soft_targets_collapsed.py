"""KD301: the soft targets are as good as one-hot."""

from dataclasses import replace

from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session

#: How many times the teacher's own epochs it was trained on, until it was certain of everything.
LONGER = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}
SHARPER = {Level.MILD: 2.0, Level.MODERATE: 4.0, Level.SEVERE: 8.0}


def certain_teacher_at_one(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher that was trained until it was certain."""
    teacher = replace(recipe.teacher, epochs=recipe.teacher.epochs * LONGER[level], weight_decay=0.0)
    return replace(recipe, temperature=1.0, teacher=teacher)


def scaled_head_at_one(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a head that multiplies its logits by a learnt scale."""

    def scaled(_teacher: nn.Module, _inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return SHARPER[level] * logits

    def add_the_scale(session: Session) -> None:
        session.teacher.register_forward_hook(scaled)

    return replace(recipe, temperature=1.0, before=in_turn(recipe.before, add_the_scale))


FAULT = Fault("KD301", seen=(certain_teacher_at_one,), unseen=(scaled_head_at_one,), kinds=("multiclass",))
