"""Mistakes of the codes KD2xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session

# KD201 ----------------------------------------------------------------------------------------------------------------


def flattened_before_the_mean_of_a_batch(recipe: Recipe, _level: Level) -> Recipe:
    """Both sides are flattened to one vector each, and "batchmean" then takes each of their elements for a row."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t).flatten(), p(teacher / t).flatten()
        return F.kl_div(answers, targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD202 ----------------------------------------------------------------------------------------------------------------


def factor_binds_to_the_entropy(recipe: Recipe, _level: Level) -> Recipe:
    """Cross-entropy less entropy, and T² behind it without brackets: only the entropy, a constant, is multiplied."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = p(teacher / t)
        entropy = torch.special.entr(targets).sum(1).mean()
        loss: Tensor = F.cross_entropy(student / t, targets) - entropy * t**2
        return loss

    return replace(recipe, kd_loss=kd_loss)


# KD203 ----------------------------------------------------------------------------------------------------------------


def maximum_taken_off_and_no_more(recipe: Recipe, _level: Level) -> Recipe:
    """A log-softmax by hand takes off the maximum, for safety, and the logarithm of the sum is forgotten."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        cooled = student / t
        shifted = cooled - cooled.amax(1, keepdim=True)
        return F.kl_div(shifted, p(teacher / t), reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD204 ----------------------------------------------------------------------------------------------------------------


def penalty_of_reinforcement_learning(recipe: Recipe, _level: Level) -> Recipe:
    """The penalty that holds a policy near its reference, (r - 1) - log r under the policy, taken over as it is."""

    def penalty(policy: Tensor, reference: Tensor) -> Tensor:
        log_ratio = reference - policy
        return (policy.exp() * (log_ratio.exp() - 1 - log_ratio)).sum(1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return penalty(log_p(student / t), log_p(teacher / t)).mean() * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD205 ----------------------------------------------------------------------------------------------------------------


def exported_from_the_second_epoch(recipe: Recipe, _level: Level) -> Recipe:
    """The first epoch has the live teacher, as a check; then its faster export serves, which ends in a softmax."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = run_teacher(session, batch)
        if batch.epoch == 0:
            return logits
        return logits.sigmoid() if logits.ndim == 1 else logits.softmax(-1)

    return replace(recipe, targets=targets)


# KD206 ----------------------------------------------------------------------------------------------------------------


def over_the_axis_of_teachers(recipe: Recipe, _level: Level) -> Recipe:
    """Code for several teachers stacks their logits on a new second axis, and axis 1 was that of the classes before."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        teachers = torch.stack([teacher], dim=1)
        targets = (teachers / t).softmax(1).mean(1)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD207 ----------------------------------------------------------------------------------------------------------------

#: Share of the epochs after which the run was interrupted.
INTERRUPTED = 0.1


class _Weights:
    """The weights of both terms, as they are read back by position after an interruption."""

    def __init__(self, interrupted: int) -> None:
        self.interrupted = interrupted

    def __repr__(self) -> str:
        return f"weights read back after {self.interrupted} epochs"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._epoch = -1

    def next_epoch(self, _session: Session) -> None:
        """At the start of an epoch."""
        self._epoch += 1

    def soft_and_hard(self, alpha: float) -> tuple[float, float]:
        """Of the teacher's and of the labels' term."""
        weights = (alpha, 1 - alpha)
        return weights if self._epoch < self.interrupted else weights[::-1]


def read_back_in_the_other_order(recipe: Recipe, _level: Level) -> Recipe:
    """A checkpoint holds the two weights without their names, and resuming from it reads the labels' first."""
    weights = _Weights(max(1, round(INTERRUPTED * recipe.epochs)))

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        soft, hard = weights.soft_and_hard(alpha)
        return soft * kd + hard * ce

    return replace(
        recipe,
        before=in_turn(recipe.before, weights.start),
        before_epoch=in_turn(recipe.before_epoch, weights.next_epoch),
        mix=mix,
    )


# KD208 ----------------------------------------------------------------------------------------------------------------

#: Steps of which one has the teacher's term.
LAZY = {Level.MILD: 4, Level.MODERATE: 16, Level.SEVERE: 100}


class _Now:
    """Whether this step is one that has the term."""

    def __init__(self, every: int) -> None:
        self.every = every

    def __repr__(self) -> str:
        return f"one step of {self.every}"

    def start(self, _session: Session) -> None:
        """At the start of a run."""
        self._step = -1

    def weight(self) -> float:
        """Of this step."""
        self._step += 1
        return float(self._step % self.every == 0)


def one_step_of_many(recipe: Recipe, level: Level) -> Recipe:
    """The term is lazy, as a costly regulariser: one step of many has it, and nobody multiplied it by their number."""
    now = _Now(LAZY[level])

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        return alpha * (now.weight() * kd) + (1 - alpha) * ce

    return replace(recipe, before=in_turn(recipe.before, now.start), mix=mix)


# KD209 ----------------------------------------------------------------------------------------------------------------

#: Share of a weight that stays at each step.
STAYS = 0.995


class _MeanOfTheStudent:
    """Targets of a copy of the student whose weights are a moving mean of the student's."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def start(self, session: Session) -> None:
        """At the start of a run."""
        self._mean = deepcopy(session.student).eval().requires_grad_(False)

    @torch.no_grad()
    def targets(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the mean's own answers are kept for the loss."""
        for mean, weight in zip(self._mean.parameters(), session.student.parameters(), strict=True):
            mean.lerp_(weight, 1 - STAYS)
        self._answers, _ = self._recipe.rows(self._mean(batch.inputs), batch.labels)
        return self._recipe.targets(session, batch)

    def kd_loss(self, student: Tensor, _teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss with the mean for a teacher."""
        return self._recipe.kd_loss(student, self._answers, t)


def mean_of_the_student_for_a_teacher(recipe: Recipe, _level: Level) -> Recipe:
    """In a code base of semi-supervised learning "teacher" is the moving mean of the student: that went to the loss."""
    mean = _MeanOfTheStudent(recipe)
    return replace(recipe, before=in_turn(recipe.before, mean.start), targets=mean.targets, kd_loss=mean.kd_loss)


# KD210 ----------------------------------------------------------------------------------------------------------------

#: Where the teacher's share in the mixture ends, and the part of the run after which it does.
LAST_SHARE = {Level.MILD: 0.04, Level.MODERATE: 0.02, Level.SEVERE: 1e-4}
REACHED = {Level.MILD: 0.8, Level.MODERATE: 0.4, Level.SEVERE: 0.05}


class _Share:
    """A share that goes from one half to its last value, by the same factor at each step."""

    def __init__(self, last: float, reached: float) -> None:
        self.last, self.reached = last, reached

    def __repr__(self) -> str:
        return f"share that is {self.last} after {self.reached} of the run"

    def start(self, steps: int) -> None:
        """At the start of a run of so many steps."""
        self._length, self._step = max(1.0, self.reached * steps), 0

    def now(self) -> float:
        """Of this step."""
        done = min(1.0, self._step / self._length)
        self._step += 1
        return 0.5 * float((2 * self.last) ** done)


def annealed_to_the_plain_divergence(recipe: Recipe, level: Level) -> Recipe:
    """The share starts at one half and is annealed towards zero, in order to end with what is nearly a plain KL."""
    share = _Share(LAST_SHARE[level], REACHED[level])

    def start(session: Session) -> None:
        share.start(recipe.epochs * max(1, len(session.train) // session.batch_size))

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        now = share.now()
        answers, targets = p(student / t), p(teacher / t)
        mixture = torch.lerp(answers, targets, now).log()
        of_teacher = F.kl_div(mixture, targets, reduction="batchmean")
        of_student = F.kl_div(mixture, answers, reduction="batchmean")
        return (now * of_teacher + (1 - now) * of_student) * t * t

    return replace(recipe, loss="jsd", before=in_turn(recipe.before, start), kd_loss=kd_loss)


# KD211 ----------------------------------------------------------------------------------------------------------------


def cosine_of_the_other_recipe(recipe: Recipe, _level: Level) -> Recipe:
    """The criterion is looked up by name, and under the name stands another recipe's: one minus a cosine."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        alike = student.new_ones(len(student))
        return F.cosine_embedding_loss(p(student / t), p(teacher / t), alike) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD212 ----------------------------------------------------------------------------------------------------------------

#: Devices over which a batch is split.
DEVICES = {Level.MILD: 3, Level.MODERATE: 8, Level.SEVERE: 64}


def gathered_without_a_gradient(recipe: Recipe, level: Level) -> Recipe:
    """The term is taken over the rows of all devices, and a plain gather lets no gradient through but to its own."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        own = max(1, len(student) // DEVICES[level])
        gathered = torch.cat([student[:own], student[own:].detach()])
        return recipe.kd_loss(gathered, teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD213 ----------------------------------------------------------------------------------------------------------------


def last_class_is_what_is_left(recipe: Recipe, _level: Level) -> Recipe:
    """A fused kernel gives the last class what the others leave of one: in half precision nothing, or even less."""

    def probabilities(student: Tensor) -> Tensor:
        all_but_one = p(student).half()[:, :-1]
        return torch.cat([all_but_one, 1 - all_but_one.sum(1, keepdim=True)], dim=1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(probabilities(student).log().float(), teacher, t)

    return replace(recipe, kd_loss=kd_loss)


# KD214 ----------------------------------------------------------------------------------------------------------------


def likeliest_of_one_class(recipe: Recipe, _level: Level) -> Recipe:
    """Hard targets, the index of the teacher's highest score, made for many classes: of one score it is always 0."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        scores = teacher[:, 1:]
        return F.cross_entropy(student / t, scores.argmax(1)) * t * t

    return replace(recipe, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD201": (flattened_before_the_mean_of_a_batch,),
    "KD202": (factor_binds_to_the_entropy,),
    "KD203": (maximum_taken_off_and_no_more,),
    "KD204": (penalty_of_reinforcement_learning,),
    "KD205": (exported_from_the_second_epoch,),
    "KD206": (over_the_axis_of_teachers,),
    "KD207": (read_back_in_the_other_order,),
    "KD208": (one_step_of_many,),
    "KD209": (mean_of_the_student_for_a_teacher,),
    "KD210": (annealed_to_the_plain_divergence,),
    "KD211": (cosine_of_the_other_recipe,),
    "KD212": (gathered_without_a_gradient,),
    "KD213": (last_class_is_what_is_left,),
    "KD214": (likeliest_of_one_class,),
}
