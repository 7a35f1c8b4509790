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
    teacher's new column j is its old column list[j]; of a single logit for yes and no, (1, 0) turns the sign.
    probed_rates: look for a learning rate first, among these multiples of the run's own. every_parameter: train what
    the student's own code froze, too. clip_gradients: largest norm. dropout: of every dropout layer of the student.
    annealed: alpha falls to zero over the training. reset_weights: the framework's own first weights. divergence: form
    of the distillation term. rows: whose targets count. order: of the training rows. hints: pairs (teacher layer,
    student layer) with a trained projector. assistant: a model of a size in between learns from the teacher first, and
    then teaches. transfer_rows: so many of the training rows, drawn at random.
    """

    own_loss: bool = True
    column_permutation: tuple[int, ...] = ()
    probed_rates: tuple[float, ...] = ()
    every_parameter: bool = False
    clip_gradients: float | None = None
    dropout: float | None = None
    annealed: bool = False
    reset_weights: bool = False
    divergence: Divergence = "declared"
    rows: Rows = "all"
    order: Order = "shuffled"
    hints: tuple[tuple[str, str], ...] = ()
    assistant: bool = False
    transfer_rows: int | None = None
