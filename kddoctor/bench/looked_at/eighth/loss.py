"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, log_p, p, reverse_kl
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def class_weights_that_sum_to_one(recipe: Recipe, _level: Level) -> Recipe:
    """Classes get weights, all alike since none is rare, normalised to sum to one: the sum over them becomes a mean."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        weights = student.new_ones(student.shape[1])
        terms = F.kl_div(log_p(student / t), p(teacher / t), reduction="none")
        return (terms @ (weights / weights.sum())).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


class _SoftLoss:
    """A criterion with an attribute for the temperature; the factor of the loss is worked out where it is made."""

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature
        self.factor = temperature**2

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        answers, targets = (log_p(logits / self.temperature) for logits in (student, teacher))
        return self.factor * F.kl_div(answers, targets, reduction="batchmean", log_target=True)


def factor_of_the_default_temperature(recipe: Recipe, _level: Level) -> Recipe:
    """The temperature is set on a criterion that was made with the default of 1, and whose factor stays that of 1."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        criterion = _SoftLoss()
        criterion.temperature = t
        return criterion(student, teacher)

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------

#: Least distance of a probability from 0 and from 1.
LEAST = 1e-6


def log_odds_for_log_probabilities(recipe: Recipe, _level: Level) -> Recipe:
    """kl_div is said to want "logs" of the student's probabilities, and torch.logit is what was found: log-odds."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers = torch.logit(p(student / t), eps=LEAST)
        return F.kl_div(answers, p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def _generalised(student: Tensor, teacher: Tensor, t: float, beta: float) -> Tensor:
    """From the forward divergence at 0 to the reverse one at 1, Jensen-Shannon's between them."""
    if beta == 0:
        return kl(student, teacher, t)
    if beta == 1:
        return reverse_kl(student, teacher, t)
    mixture = ((1 - beta) * p(student / t) + beta * p(teacher / t)).log()
    of_teacher, of_student = (F.kl_div(mixture, p(z / t), reduction="batchmean") for z in (teacher, student))
    return (beta * of_teacher + (1 - beta) * of_student) * t * t


def other_end_of_the_generalised_one(recipe: Recipe, _level: Level) -> Recipe:
    """A library's divergence goes from one direction at 0 to the other at 1; 1 was to be "all of the teacher"."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return _generalised(student, teacher, t, beta=1.0)

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------

#: Servers that share the teacher's work in turn.
SERVERS = 3


def servers_of_two_releases(recipe: Recipe, _level: Level) -> Recipe:
    """Batches go to the teacher's servers in turn; all but one run an older release, which answers in probabilities."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if batch.step % SERVERS == 0:
            return logits
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)

    return replace(recipe, targets=targets)


# KD206 ----------------------------------------------------------------------------------------------------------------


class _Denominators:
    """Logarithms of the denominators of the targets' softmax, from one pass over the training set before it starts."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __repr__(self) -> str:
        return f"denominators at {self.temperature}"

    def start(self, session: Session) -> None:
        """At the start of a run: over rows, and so one for each class."""
        outputs = session.cached_by_row
        logits = torch.stack([torch.zeros_like(outputs), outputs], dim=1) if outputs.ndim == 1 else outputs
        self._logarithms = (logits.flatten(0, -2) / self.temperature).logsumexp(0)

    def softmax(self, logits: Tensor) -> Tensor:
        """Of logits that are divided by the temperature."""
        return (logits - self._logarithms).exp()


def denominators_over_the_training_set(recipe: Recipe, _level: Level) -> Recipe:
    """The targets' denominators are summed up beforehand, down the rows of all data: one for a class, not for a row."""
    denominators = _Denominators(recipe.temperature)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = denominators.softmax(teacher / t)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, before=in_turn(recipe.before, denominators.start), kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------


def weight_with_a_misleading_name(recipe: Recipe, _level: Level) -> Recipe:
    """A script's alpha_ce is the weight of its cross-entropy with the teacher, and was taken for that of the labels."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        options = {"alpha_ce": 1 - alpha, "alpha_task": alpha}
        return options["alpha_ce"] * kd + options["alpha_task"] * ce

    return replace(recipe, mix=mix)


# KD208 ----------------------------------------------------------------------------------------------------------------

#: What stays of a term's running size at each step.
STAYS = {Level.MILD: 0.3, Level.MODERATE: 0.8, Level.SEVERE: 0.999}


class _Size:
    """The running size of a term, to which each step adds: what stays of it is less than all, what is added is all."""

    def __init__(self, stays: float) -> None:
        self.stays = stays

    def __repr__(self) -> str:
        return f"size of which {self.stays} stays"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._size = 0.0

    def after(self, term: Tensor) -> float:
        """With the term of this step."""
        self._size = self.stays * self._size + float(term.detach())
        return max(self._size, 1e-6)


def running_size_that_is_a_sum(recipe: Recipe, level: Level) -> Recipe:
    """The term is divided by its moving mean, to be near one; the mean lacks its factor (1 - decay) and is a sum."""
    size = _Size(STAYS[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (kd / size.after(kd)) + (1 - alpha) * ce

    return replace(recipe, before=in_turn(recipe.before, size.start), mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------


class _Reference:
    """Targets of a frozen copy of the student as it was before its first step."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def start(self, session: Session) -> None:
        """At the start of a run."""
        self._copy = deepcopy(session.student).eval().requires_grad_(False)

    @torch.no_grad()
    def targets(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the copy's own answers are kept for the loss."""
        self._answers, _ = self._recipe.rows(self._copy(batch.inputs), batch.labels)
        return self._recipe.targets(session, batch)

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss with the copy for a teacher."""
        return self._recipe.kd_loss(student, self._answers, t)


def reference_of_preference_tuning(recipe: Recipe, _level: Level) -> Recipe:
    """In a code base of preference tuning one stays near what the student was at first: that copy went to the loss."""
    reference = _Reference(recipe)
    return replace(
        recipe, before=in_turn(recipe.before, reference.start), targets=reference.targets, kd_loss=reference.kd_loss
    )


# KD210 ----------------------------------------------------------------------------------------------------------------

#: How near a share may come to 0 and to 1.
MARGIN = {Level.MILD: 0.15, Level.MODERATE: 0.02, Level.SEVERE: 1e-4}
#: The student's share in the mixture, as it is meant.
HALF = 0.5


def bounds_of_the_clamp_exchanged(recipe: Recipe, level: Level) -> Recipe:
    """The student's share of one half is kept off 0 and 1 with both bounds exchanged, and clamp() returns the upper."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        share = torch.tensor(HALF).clamp(1 - MARGIN[level], MARGIN[level])
        answers, targets = p(student / t), p(teacher / t)
        mixture = torch.lerp(targets, answers, share).log()
        of_teacher = F.kl_div(mixture, targets, reduction="batchmean")
        of_student = F.kl_div(mixture, answers, reduction="batchmean")
        return ((1 - share) * of_teacher + share * of_student) * t * t

    return replace(recipe, loss="jsd", kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


class _Similarities:
    """A library's loss: how alike the rows of a batch are to each other, by the teacher and by the student."""

    def __call__(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return self.criterion(student / t, teacher / t) * t * t

    def criterion(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared distance between the similarities of a row to all others, mean over rows."""
        ours, theirs = (F.normalize(logits @ logits.t(), dim=1) for logits in (student, teacher))
        return (ours - theirs).square().sum(1).mean()


class _Divergence(_Similarities):
    """The library's loss with the divergence in place of its criterion."""

    def criterium(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean over rows."""
        return F.kl_div(log_p(student), p(teacher), reduction="batchmean")


def override_that_is_misspelt(recipe: Recipe, _level: Level) -> Recipe:
    """The method that was to replace the library's criterion is misspelt, and what runs is the library's own."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return _Divergence()(student, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Devices over which a batch is split.
DEVICES = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 32}


def past_the_wrapper(recipe: Recipe, level: Level) -> Recipe:
    """The term calls the model inside the wrapper for several devices: each has the gradient of its own rows alone.

    What is logged is the mean over all of them.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        own = max(1, len(student) // DEVICES[level])
        local = recipe.kd_loss(student[:own], teacher[:own], t)
        return local + (recipe.kd_loss(student, teacher, t) - local).detach()

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------


def product_before_the_logarithm(recipe: Recipe, _level: Level) -> Recipe:
    """The likelihood of a batch is a product of half-precision probabilities, and then its logarithm: it underflows."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = p(student / t).half(), p(teacher / t)
        likelihood: Tensor = (answers ** targets.half()).prod()
        entropy: Tensor = torch.special.entr(targets).sum()
        return -(likelihood.log().float() + entropy) / len(student) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def hinge_of_a_distance(recipe: Recipe, _level: Level) -> Recipe:
    """hinge_embedding_loss was taken for a hinge of yes or no: it is for distances, which a yes makes small."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        scores, says = ((side[:, 1] - side[:, 0]) / t for side in (student, teacher))
        return F.hinge_embedding_loss(scores, torch.where(says > 0, 1.0, -1.0)) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (class_weights_that_sum_to_one,),
    "KD202": (factor_of_the_default_temperature,),
    "KD203": (log_odds_for_log_probabilities,),
    "KD204": (other_end_of_the_generalised_one,),
    "KD205": (servers_of_two_releases,),
    "KD206": (denominators_over_the_training_set,),
    "KD207": (weight_with_a_misleading_name,),
    "KD208": (running_size_that_is_a_sum,),
    "KD209": (reference_of_preference_tuning,),
    "KD210": (bounds_of_the_clamp_exchanged,),
    "KD211": (override_that_is_misspelt,),
    "KD212": (past_the_wrapper,),
    "KD213": (product_before_the_logarithm,),
    "KD214": (hinge_of_a_distance,),
}
