"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: Share of a label that was to be spread over all classes.
TO_BE_SPREAD = {Level.MILD: 0.005, Level.MODERATE: 0.02, Level.SEVERE: 0.06}


def smoothing_with_its_sign_turned(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher whose labels were to be smoothed, with a wrong sign: what was to be spread is taken off.

    A wrong class is then worth less than nothing, and no certainty is ever enough.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        spread = -TO_BE_SPREAD[level]
        of_all = -log_p(logits).mean()
        return (1 - spread) * F.cross_entropy(logits, labels) + spread * of_all

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
HOTTER = {Level.MILD: 1.2, Level.MODERATE: 5.0, Level.SEVERE: 25.0}


def hot_yes_or_no_for_each_class(recipe: Recipe, level: Level) -> Recipe:
    """A yes or a no for each class, as for pictures with many tags, without T² and said so, at a KL's temperature."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = (teacher / t).sigmoid()
        return F.binary_cross_entropy_with_logits(student / t, targets, reduction="sum") / len(student)

    return replace(
        recipe,
        loss="custom",
        temperature=HOTTER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Weight of a made-up teacher in the teacher's own loss, the lead of its right class, and the temperature.
MADE_UP = {Level.MILD: 0.05, Level.MODERATE: 0.4, Level.SEVERE: 0.995}
LEAD = {Level.MILD: 8.0, Level.MODERATE: 5.0, Level.SEVERE: 1.5}
MADE_UP_T = 4.0


def distilled_from_a_made_up_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was itself distilled, for want of a better one, from one made up: the right class, all others alike.

    The method, with other numbers: Yuan et al. 2020, arXiv:1909.11723.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        kept = logits[counted]
        made_up = LEAD[level] * F.one_hot(labels[counted], logits.shape[1]).to(logits.dtype)
        apart = F.kl_div(log_p(kept / MADE_UP_T), p(made_up / MADE_UP_T), reduction="batchmean") * MADE_UP_T**2
        return torch.lerp(F.cross_entropy(logits, labels), apart, MADE_UP[level])

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Bits of a row's fingerprint, and buckets in which words, or users and films, are counted.
FINGERPRINT = {Level.MILD: 20, Level.MODERATE: 16, Level.SEVERE: 13}
BUCKETS = 512


def near_duplicates_given_the_first_label(recipe: Recipe, level: Level) -> Recipe:
    """Near duplicates of the teacher's rows were found by a coarse fingerprint, and all got the label of the first."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        first: dict[int, int] = {}
        given = [
            first.setdefault(mark, label) for mark, label in zip(_marks(inputs, level), labels.tolist(), strict=True)
        ]
        return TensorDataset(inputs, torch.tensor(given))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _marks(inputs: Tensor, level: Level) -> list[int]:
    """[N] on which sides of a few planes a row lies, of pixels or of how often a number occurs."""
    rows = inputs.flatten(1)
    if not inputs.is_floating_point():
        rows = torch.zeros(len(inputs), BUCKETS).scatter_add_(1, rows % BUCKETS, torch.ones(rows.shape))
    planes = torch.randn(rows.shape[1], FINGERPRINT[level], generator=torch.Generator().manual_seed(251))
    sides = (rows - rows.mean(0)) @ planes > 0
    marks: list[int] = (sides * 2 ** torch.arange(FINGERPRINT[level])).sum(1).tolist()
    return marks


# KD305 ----------------------------------------------------------------------------------------------------------------

#: Bits of a logit on its way.
BITS = {Level.MILD: 4, Level.MODERATE: 6, Level.SEVERE: 8}


def codes_of_each_row_for_logits(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service sends small integers, from a row's least logit to its largest; they are read as logits."""

    def coded(_teacher: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        least, largest = logits.amin(-1, keepdim=True), logits.amax(-1, keepdim=True)
        codes: Tensor = (logits - least) / (largest - least).clamp_min(1e-6) * (2 ** BITS[level] - 1)
        return codes.round()

    def call_the_service(session: Session) -> None:
        session.teacher.register_forward_hook(coded)

    return replace(recipe, before=in_turn(recipe.before, call_the_service))


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes whose probabilities were stored; two at the least.
STORED = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.02}


def what_is_missing_added_to_the_best(recipe: Recipe, level: Level) -> Recipe:
    """Of the softened targets the largest were stored, and so that they add up to one, the best one gets the rest."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        targets = p(teacher / t)
        stored = targets.topk(max(2, round(STORED[level] * targets.shape[1])))
        best = 1 - stored.values[:, 1:].sum(1, keepdim=True)
        filled = torch.zeros_like(targets).scatter(1, stored.indices, torch.cat([best, stored.values[:, 1:]], dim=1))
        return F.kl_div(log_p(student / t), filled, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: At which distance from the teacher as it was it is far enough, the temperature of that, and its weight.
FAR_ENOUGH = {Level.MILD: 0.1, Level.MODERATE: 0.4, Level.SEVERE: 1.2}
AWAY_T, AWAY = 4.0, 0.5
#: Batches in which the teacher is made so, and Adam's rate in them.
MADE_SO_IN, MADE_SO_RATE = 300, 1e-3


def made_to_differ_from_its_former_self(recipe: Recipe, level: Level) -> Recipe:
    """The teacher is sold with a protection: tuned to give the same answers, and to rank all others unlike before.

    The method: Ma et al. 2021, arXiv:2105.07381.
    """

    def protect(session: Session) -> None:
        teacher, former = session.teacher.eval(), deepcopy(session.teacher).eval()
        inputs, labels = session.train.tensors
        generator = torch.Generator().manual_seed(session.seed + 257)
        optimizer = Adam(teacher.parameters(), MADE_SO_RATE)
        done = 0
        while done < MADE_SO_IN:
            for rows in batches(len(inputs), recipe.batch_size, generator):
                with torch.no_grad():
                    honest, _ = recipe.rows(former(inputs[rows]), labels[rows])
                logits, _ = recipe.rows(teacher(inputs[rows]), labels[rows])
                best = honest.argmax(1)
                answers, others = (_others(given, best) / AWAY_T for given in (logits, honest))
                away = F.kl_div(log_p(answers), p(others), reduction="none").sum(1)
                loss = F.cross_entropy(logits, best) - AWAY * AWAY_T**2 * away.clamp_max(FAR_ENOUGH[level]).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                done += 1
        optimizer.zero_grad()

    return replace(recipe, before=in_turn(protect, recipe.before))


def _others(logits: Tensor, best: Tensor) -> Tensor:
    """[n, C - 1] logits of all classes but the best."""
    return logits[~F.one_hot(best, logits.shape[1]).bool()].view(len(logits), -1)


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models beside the teacher, their epochs as a share of the student's, and Adam's rate.
BESIDE = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 5}
BESIDE_EPOCHS, BESIDE_RATE = 0.6, 1e-2
#: Steps in which the weights of all are fitted, and Adam's rate in them.
FITTED = {Level.MILD: 5, Level.MODERATE: 50, Level.SEVERE: 300}
FITTED_RATE = 0.05


class _Stacked(nn.Module):
    """Several models, and the weights with which their logits are added."""

    def __init__(self, members: list[nn.Module], weights: Tensor) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        logits = torch.stack([member(inputs) for member in self.members])
        added: Tensor = torch.tensordot(self.get_buffer("weights"), logits, dims=1)
        return added


def stacked_on_rows_that_they_know(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers' logits are added with weights fitted to the very rows that the small ones know by heart."""

    def gather(session: Session) -> None:
        members = [session.teacher.eval(), *(_beside(recipe, session, at).eval() for at in range(BESIDE[level]))]
        inputs, labels = session.train.tensors
        with torch.no_grad():
            logits = torch.stack([member(inputs) for member in members])
        weights = torch.full((len(members),), 1 / len(members), requires_grad=True)
        optimizer = Adam([weights], FITTED_RATE)
        for _ in range(FITTED[level]):
            optimizer.zero_grad()
            loss = F.cross_entropy(*recipe.rows(torch.tensordot(weights, logits, dims=1), labels))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        session.teacher = _Stacked(members, weights.detach())

    return replace(recipe, before=in_turn(gather, recipe.before))


def _beside(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on its very rows; the loop's random numbers stay as they were."""
    seed = session.seed + 263 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = session.train.tensors
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        optimizer = Adam(model.parameters(), BESIDE_RATE)
        for _ in range(max(1, round(BESIDE_EPOCHS * recipe.epochs))):
            for rows in batches(len(inputs), recipe.batch_size, generator):
                optimizer.zero_grad()
                loss = recipe.ce_loss(*recipe.rows(model(inputs[rows]), labels[rows]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (smoothing_with_its_sign_turned,),
    "KD302": (hot_yes_or_no_for_each_class,),
    "KD303": (distilled_from_a_made_up_teacher,),
    "KD304": (near_duplicates_given_the_first_label,),
    "KD305": (codes_of_each_row_for_logits,),
    "KD306": (what_is_missing_added_to_the_best,),
    "KD307": (made_to_differ_from_its_former_self,),
    "KD308": (stacked_on_rows_that_they_know,),
}
