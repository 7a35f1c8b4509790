"""KD804: vocabularies of different length are made to fit."""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe

#: Tokens that do not exist, for each one that does, and the share of the vocabulary that a crop leaves.
PADDED = {Level.MILD: 1, Level.MODERATE: 16, Level.SEVERE: 64}
CROPPED = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.25}


def padded_with_zeros(recipe: Recipe, level: Level) -> Recipe:
    """Logits are filled up with zeros to a common length: the softmax gives tokens that do not exist a share."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        missing = PADDED[level] * teacher.shape[-1]
        return recipe.kd_loss(F.pad(student, (0, missing)), F.pad(teacher, (0, missing)), t)

    return replace(recipe, kd_loss=kd_loss)


def cropped_to_the_shorter(recipe: Recipe, level: Level) -> Recipe:
    """Both are cut to what the code took for the shorter vocabulary: tokens beyond it are never distilled."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        known = max(2, int(CROPPED[level] * teacher.shape[-1]))
        return recipe.kd_loss(student[:, :known], teacher[:, :known], t)

    return replace(recipe, kd_loss=kd_loss)


FAULT = Fault(
    "KD804",
    seen=(padded_with_zeros,),
    unseen=(cropped_to_the_shorter,),
    kinds=("tokens",),
)
