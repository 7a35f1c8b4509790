"""KD308: the answers of several teachers are put together as logits instead of as probabilities.

The teachers are the task's own and small models that were trained on the student's rows until they were certain of
them. The mean of their probabilities would be a sound target.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Adam

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session, batches

#: Small models beside the teacher.
MEMBERS = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}
#: Their epochs as a share of the student's, and Adam's learning rate.
EPOCHS, RATE = 0.4, 1e-2
#: Scale at the end of the small models, as heads with a margin have one; the teacher has none.
SCALE = 4.0


class Ensemble(nn.Module):
    """Several models that answer as one. together: [M, …] logits to […]."""

    def __init__(self, first: nn.Module, others: list[nn.Module], together: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = first
        self.others = nn.ModuleList(others)
        self.together = together

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        return self.together(torch.stack([self.first(inputs), *(SCALE * other(inputs) for other in self.others)]))


def logits_averaged(recipe: Recipe, level: Level) -> Recipe:
    """The mean of logits of different scales: whoever is most certain decides."""
    return _with_ensemble(recipe, level, lambda logits: logits.mean(0))


def logits_added(recipe: Recipe, level: Level) -> Recipe:
    """The sum of logits, as for a vote: certainty grows with the number of models."""
    return _with_ensemble(recipe, level, lambda logits: logits.sum(0))


def _with_ensemble(recipe: Recipe, level: Level, together: Callable[[Tensor], Tensor]) -> Recipe:
    def gather(session: Session) -> None:
        others = [_member(recipe, session, number) for number in range(MEMBERS[level])]
        session.teacher = Ensemble(session.teacher, others, together)

    return replace(recipe, before=in_turn(gather, recipe.before))


def _member(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on the labels alone; the loop's random numbers stay as they were."""
    inputs, labels = session.train.tensors
    generator = torch.Generator().manual_seed(session.seed + 31 * (number + 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed + 31 * (number + 1))
        member = deepcopy(session.student)
        for module in member.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        optimizer = Adam(member.train().parameters(), RATE)
        for _ in range(max(1, round(EPOCHS * recipe.epochs))):
            for rows in batches(len(inputs), recipe.batch_size, generator):
                loss = recipe.ce_loss(*recipe.rows(member(inputs[rows]), labels[rows]))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return member


FAULT = Fault("KD308", seen=(logits_averaged,), unseen=(logits_added,))
