"""KD113: what is distilled is another tensor than the one that was meant."""

from dataclasses import replace

from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Weight of the feature loss.
WEIGHT = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 80.0}


def hook_of_the_batch_before(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's hook appends to a list, and the loss takes the oldest entry: the features of the batch before."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        stale = session.notes.get("stale", teacher)
        session.notes["stale"] = teacher.detach()
        count = min(len(student), len(stale))
        return relative_error(session.notes["projector"](student[:count]), stale[:count])

    return replace(with_hint(recipe, WEIGHT[level]), hint=hint)


def hidden_states_for_logits(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher returns a tuple, and the wrong element is taken: its features, cut to the student's width."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        features: Tensor = session.notes["features"]["teacher"]
        return features[..., 0] if logits.ndim == 1 else features[..., : logits.shape[-1]]

    return replace(recipe, before=in_turn(recipe.before, watch), targets=targets)


FAULT = Fault("KD113", seen=(hook_of_the_batch_before,), unseen=(hidden_states_for_logits,))
