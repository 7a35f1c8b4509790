"""KD810: the student follows what the teacher once said ever more closely, and the truth less and less."""

from dataclasses import replace

import torch
from torch import Tensor

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Factor on the epochs.
LONGER = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}
#: Logit of a token that the teacher wrote.
CERTAIN = 20.0


def answers_written_once(recipe: Recipe, level: Level) -> Recipe:
    """One answer a row was drawn from the teacher, once; the student learns those by heart, and no label."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "written" not in session.notes:
            generator = torch.Generator().manual_seed(session.seed)
            said = session.cached_by_row.softmax(-1)
            drawn = torch.multinomial(said.flatten(0, -2), 1, generator=generator).view(said.shape[:-1])
            session.notes["written"] = drawn
        written = session.notes["written"][batch.rows]
        return CERTAIN * torch.nn.functional.one_hot(written, session.cached_by_row.shape[-1]).float()

    return replace(recipe, targets=targets, alpha=1.0, epochs=LONGER[level] * recipe.epochs)


def few_prompts_for_many_epochs(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's outputs on a fixed set are fitted for far too many epochs, at a full rate and without labels."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    return replace(recipe, targets=targets, alpha=1.0, epochs=2 * LONGER[level] * recipe.epochs, schedule="constant")


FAULT = Fault("KD810", seen=(answers_written_once,), unseen=(few_prompts_for_many_epochs,), kinds=("tokens",))
