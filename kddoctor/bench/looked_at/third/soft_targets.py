"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: Weight of the entropy that a teacher is punished for.
PUNISHED = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 2.0}


def entropy_minimised(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher of semi-supervised learning, where the entropy of its answers was made small as well."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        counted = logits[labels != IGNORED]
        entropy = -(p(counted) * log_p(counted)).sum(1).mean()
        return F.cross_entropy(logits, labels) + PUNISHED[level] * entropy

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
HOTTER = {Level.MILD: 2.5, Level.MODERATE: 6.0, Level.SEVERE: 20.0}


def hot_symmetric_divergence(recipe: Recipe, level: Level) -> Recipe:
    """A Jensen-Shannon divergence without T², and said to be so, at a temperature that somebody used for a KL."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        answers, targets = log_p(student / t), log_p(teacher / t)
        mixture = torch.logsumexp(torch.stack([answers, targets]), dim=0) - log(2)
        of_each = [(side.exp() * (side - mixture)).sum(1).mean() for side in (answers, targets)]
        return (of_each[0] + of_each[1]) / 2

    return replace(
        recipe,
        loss="jsd",
        temperature=HOTTER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Weight of a complement objective.
COMPLEMENT = {Level.MILD: 0.1, Level.MODERATE: 0.5, Level.SEVERE: 3.0}


def complement_objective(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was also trained to give all classes but the right one the same, for its own accuracy."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        kept, truth = logits[counted], labels[counted]
        others = kept[~F.one_hot(truth, kept.shape[1]).bool()].view(len(kept), -1)
        entropy = -(p(others) * log_p(others)).sum(1).mean()
        return F.cross_entropy(logits, labels) - COMPLEMENT[level] * entropy

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that the annotators left as an older model had labelled them.
SUGGESTED = {Level.MILD: 0.15, Level.MODERATE: 0.3, Level.SEVERE: 0.6}
#: Buckets in which an older model counts words.
BUCKETS = 256


def hard_rows_left_as_suggested(recipe: Recipe, level: Level) -> Recipe:
    """Annotators corrected an older model's labels, and left those of the rows of which that model was least sure."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        likeness = _likeness(inputs, labels)
        best = likeness.topk(2, dim=1)
        margin = best.values[:, 0] - best.values[:, 1]
        left = margin.argsort()[: int(SUGGESTED[level] * len(labels))]
        given = labels.clone()
        given[left] = best.indices[left, 0]
        return TensorDataset(inputs, given)

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _likeness(inputs: Tensor, labels: Tensor) -> Tensor:
    """[N, C] cosine of each row with the mean of each class, of pixels or of counts of words."""
    if inputs.is_floating_point():
        rows = inputs.flatten(1)
    else:
        rows = torch.zeros(len(inputs), BUCKETS)
        rows.scatter_add_(1, inputs % BUCKETS, torch.ones(inputs.shape))
    rows = F.normalize(rows - rows.mean(0), dim=1)
    classes = int(labels.max()) + 1
    means = torch.zeros(classes, rows.shape[1]).index_add_(0, labels, rows)
    return rows @ F.normalize(means, dim=1).t()


# KD305 ----------------------------------------------------------------------------------------------------------------

#: Factor on the cosines that are the student's logits.
FACTOR = {Level.MILD: 5.0, Level.MODERATE: 2.5, Level.SEVERE: 1.0}


class _Cosines(nn.Linear):
    """A head whose logits are cosines between features and classes, times a factor that is not learnt."""

    factor: float

    def forward(self, features: Tensor) -> Tensor:
        """[…, D] features to […, C] logits between -factor and factor."""
        return self.factor * F.linear(F.normalize(features, dim=-1), F.normalize(self.weight, dim=-1))


def cosine_head_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The student's head was taken from metric learning, without the large factor that belongs to it there."""

    def change_student(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        name, head = [(name, module) for name, module in changed.named_modules() if isinstance(module, nn.Linear)][-1]
        cosines = _Cosines(head.in_features, head.out_features, bias=False)
        cosines.factor = FACTOR[level]
        changed.set_submodule(name, cosines)
        return changed

    return replace(recipe, change_student=change_student)


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes whose logits the teacher's service returns.
RETURNED = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.05}


def others_get_the_least_returned(recipe: Recipe, level: Level) -> Recipe:
    """A service returns its best classes; all the others are filled in with the least that came back."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        returned = log_p(teacher).topk(max(2, round(RETURNED[level] * teacher.shape[1])), dim=1)
        least = returned.values[:, -1:].expand_as(teacher)
        return kl(student, least.scatter(1, returned.indices, returned.values), t)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: Share of noise in the scores below the best one.
NOISE = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def noise_below_the_best(recipe: Recipe, level: Level) -> Recipe:
    """A guarded service leaves its best score as it is and puts noise, the same for the same answer, in all others."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _noisy(logits, NOISE[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _noisy(logits: Tensor, share: float) -> Tensor:
    best = logits.topk(2, dim=-1)
    second, last = best.values[..., 1:], logits.amin(-1, keepdim=True)
    # Drawn anew for each tenth of the best score, so that asking twice does not help.
    seed = (10 * best.values[..., :1]).round() + 31 * best.indices[..., :1]
    drawn = ((seed * 12.9898 + torch.arange(logits.shape[-1]) * 78.233).sin() * 437.585).frac().abs()
    noisy = (1 - share) * logits + share * (last + drawn * (second - last))
    return noisy.scatter(-1, best.indices[..., :1], best.values[..., :1])


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models beside the teacher, their epochs as a share of the student's, and Adam's learning rate.
JURORS = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 6}
JUROR_EPOCHS, JUROR_RATE = 0.4, 1e-2
#: Divisor of the logits in the small models' own loss: what they give without it is as much larger.
JUROR_DIVISOR = 4.0


class _Jury(nn.Module):
    """Several models whose answer is, class by class, the middle one of their logits."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        logits: Tensor = torch.stack([member(inputs) for member in self.members]).median(0).values
        return logits


def median_of_logits(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers, the median of whose logits is taken so that none of them stands out, whatever their scale."""

    def gather(session: Session) -> None:
        session.teacher = _Jury([session.teacher, *(_juror(recipe, session, at) for at in range(JURORS[level]))])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _juror(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on a draw of its rows; the loop's random numbers stay as they were."""
    inputs, labels = session.train.tensors
    seed = session.seed + 73 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(inputs), (len(inputs),), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        juror = deepcopy(session.student).train()
        for module in juror.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        optimizer = Adam(juror.parameters(), JUROR_RATE)
        for _ in range(max(1, round(JUROR_EPOCHS * recipe.epochs))):
            for numbers in batches(len(inputs), recipe.batch_size, generator):
                rows = drawn[numbers]
                logits, truth = recipe.rows(juror(inputs[rows]), labels[rows])
                optimizer.zero_grad()
                recipe.ce_loss(logits / JUROR_DIVISOR, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return juror


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (entropy_minimised,),
    "KD302": (hot_symmetric_divergence,),
    "KD303": (complement_objective,),
    "KD304": (hard_rows_left_as_suggested,),
    "KD305": (cosine_head_for_the_student,),
    "KD306": (others_get_the_least_returned,),
    "KD307": (noise_below_the_best,),
    "KD308": (median_of_logits,),
}
