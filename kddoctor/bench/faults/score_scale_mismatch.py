"""KD902: the scores of teacher and student live on different scales."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

#: Factor between a dot product and a cosine.
LARGER = {Level.MILD: 6.0, Level.MODERATE: 15.0, Level.SEVERE: 60.0}
#: A rating is between one and five stars.
FEWEST, MORE = 1.0, 4.0


def sigmoid_against_raw_score(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's service answers with a probability; the student's raw score is to equal it."""

    def kd_loss(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
        return F.mse_loss(student[:, 1] - student[:, 0], (teacher[:, 1] - teacher[:, 0]).sigmoid())

    return replace(recipe, kd_loss=kd_loss, loss="mse")


def cosine_against_dot_product(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's embeddings are not normalised, as the student's scale presumes: its scores are far too large."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return LARGER[level] * recipe.targets(session, batch)

    return replace(recipe, targets=targets)


def stars_against_logit(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher foretells stars, and they are taken for logits."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return FEWEST + MORE * recipe.targets(session, batch).sigmoid()

    return replace(recipe, targets=targets)


FAULT = Fault(
    "KD902",
    seen=(sigmoid_against_raw_score,),
    unseen=(cosine_against_dot_product, stars_against_logit),
    kinds=("ranking",),
)
