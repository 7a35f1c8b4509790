"""What a treatment's loop does that the manifest has no key for."""

from dataclasses import dataclass
from typing import Literal

Divergence = Literal["declared", "decoupled", "correlation", "standardised"]
Rows = Literal["all", "teacher right", "teacher sure"]
Order = Literal["shuffled", "easy first"]


@dataclass(frozen=True)
class LoopSettings:
    """Every field's first value is that of a plain, sound distillation.

    own_loss: the run's ``code.loss`` is kept; otherwise the loss is computed by kddoctor. column_permutation: the
    teacher's new column j is its old column list[j]. probe_rate: look for a lower learning rate first. clip_gradients:
    largest norm. dropout: of every dropout layer of the student. annealed: alpha falls to zero over the training.
    reset_weights: the framework's own first weights. divergence: form of the distillation term. rows: whose targets
    count. order: of the training rows. hints: pairs (teacher layer, student layer) with a trained projector.
    """

    own_loss: bool = True
    column_permutation: tuple[int, ...] = ()
    probe_rate: bool = False
    clip_gradients: float | None = None
    dropout: float | None = None
    annealed: bool = False
    reset_weights: bool = False
    divergence: Divergence = "declared"
    rows: Rows = "all"
    order: Order = "shuffled"
    hints: tuple[tuple[str, str], ...] = ()
