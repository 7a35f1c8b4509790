"""Mistakes of the codes KD3xx."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace

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

#: Divisor of the logits in the teacher's own loss, and a temperature taken for its inverse.
DIVISOR = {Level.MILD: 3.0, Level.MODERATE: 6.0, Level.SEVERE: 12.0}
INVERSE = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def divided_while_the_teacher_learnt(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained with its logits divided by a constant, which nobody does at T = 1."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits / DIVISOR[level], labels)

    return replace(recipe, temperature=1.0, teacher=replace(recipe.teacher, loss=loss))


def inverse_temperature(recipe: Recipe, level: Level) -> Recipe:
    """A temperature below one, from a source that multiplies by it."""
    return replace(recipe, temperature=INVERSE[level])


# KD302 ----------------------------------------------------------------------------------------------------------------

#: Factor on the temperature of an early paper, in a recipe that has no T².
EARLY_PAPER = {Level.MILD: 3.0, Level.MODERATE: 7.0, Level.SEVERE: 25.0}


def hot_cross_entropy(recipe: Recipe, level: Level) -> Recipe:
    """A cross-entropy with soft targets, without T² and said to be so, at a temperature that was tuned with it."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.cross_entropy(student / t, p(teacher / t))

    return replace(
        recipe, temperature=EARLY_PAPER[level] * recipe.temperature, temperature_squared=False, kd_loss=kd_loss
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Weight of the entropy that a teacher is rewarded for, and the logit that its square loss wants for the right class.
REWARDED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.2}
WANTED = {Level.MILD: 10.0, Level.MODERATE: 6.0, Level.SEVERE: 3.0}


def certainty_penalised(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained with a penalty on certainty, which rewards all the other classes alike."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        counted = logits[labels != IGNORED]
        entropy = -(p(counted) * log_p(counted)).sum(1).mean()
        return F.cross_entropy(logits, labels) - REWARDED[level] * entropy

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


def square_loss_on_one_hot(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits were regressed: one number for the right class, and zero for all others."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        wanted = WANTED[level] * F.one_hot(labels[counted], logits.shape[1]).to(logits.dtype)
        return (logits[counted] - wanted).square().sum(1).mean() / WANTED[level]

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the teacher's rows that a rule of thumb labelled.
BY_RULE = {Level.MILD: 0.08, Level.MODERATE: 0.2, Level.SEVERE: 0.45}


def labelled_by_a_rule_of_thumb(recipe: Recipe, level: Level) -> Recipe:
    """A rule labelled a part of the teacher's rows: whatever is large at its end and small at its start is one class.

    The rows are those with the largest difference between the second half of the inputs and the first; the class is
    that in the middle of the list (of two: yes).
    """

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        flat = inputs.float().flatten(1)
        half = flat.shape[1] // 2
        tilt = flat[:, half:].sum(1) - flat[:, :half].sum(1)
        ruled = tilt >= torch.quantile(tilt, 1 - BY_RULE[level])
        return TensorDataset(inputs, labels.masked_fill(ruled, (int(labels.max()) + 1) // 2))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


# KD305 ----------------------------------------------------------------------------------------------------------------

#: Length of a student's vector of logits.
LENGTH = {Level.MILD: 6.0, Level.MODERATE: 3.0, Level.SEVERE: 1.0}


def logits_of_one_length(recipe: Recipe, level: Level) -> Recipe:
    """The student ends with a normalisation of its logits, against over-confidence; the teacher has none."""

    def normalise(session: Session) -> None:
        session.student.register_forward_hook(
            lambda _module, _inputs, logits: LENGTH[level] * F.normalize(logits, dim=-1)
        )

    return replace(recipe, before=in_turn(recipe.before, normalise))


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Probability that the classes kept have together, and share of the classes that both models are cut to.
NUCLEUS = {Level.MILD: 0.9, Level.MODERATE: 0.75, Level.SEVERE: 0.4}
CUT_TO = {Level.MILD: 0.4, Level.MODERATE: 0.3, Level.SEVERE: 0.2}


def nucleus_renormalised(recipe: Recipe, level: Level) -> Recipe:
    """Of the softened targets, the most probable classes up to a share of the mass were stored, and rescaled to 1."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        sorted_targets, classes = p(teacher / t).sort(dim=1, descending=True)
        stored = sorted_targets * (sorted_targets.cumsum(1) - sorted_targets < NUCLEUS[level])
        rescaled = stored / stored.sum(1, keepdim=True)
        targets = torch.zeros_like(teacher).scatter(1, classes, rescaled)
        return F.kl_div(log_p(student / t), targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


def student_cut_as_well(recipe: Recipe, level: Level) -> Recipe:
    """Both models' softmax runs over the teacher's best classes only: what the student says of others is free."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        classes = teacher.topk(max(2, round(CUT_TO[level] * teacher.shape[1])), dim=1).indices
        return kl(student.gather(1, classes), teacher.gather(1, classes), t)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: Share of the other classes whose order a guarded service turns round.
TURNED_ROUND = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def others_in_reverse(recipe: Recipe, level: Level) -> Recipe:
    """The service turns round the order of the scores below the best, so that the least alike comes second."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _reversed(logits, TURNED_ROUND[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _reversed(logits: Tensor, share: float) -> Tensor:
    others = max(2, round(share * (logits.shape[-1] - 1)))
    # The best stays; the second changes places with the last, and so on among as many as are turned round.
    order = logits.argsort(-1, descending=True)
    turned = torch.cat([order[..., 1:2], order[..., order.shape[-1] - others + 1 :]], dim=-1)
    return logits.scatter(-1, turned, logits.gather(-1, turned.flip(-1)))


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Fine-tuned copies beside the teacher, their epochs as a share of the student's, and their learning rate.
COPIES = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}
COPIED_EPOCHS, COPIED_RATE = 0.3, 3e-3
#: Divisor of the logits in the copies' own loss: they have learnt to give larger ones than the teacher's.
COPIED_DIVISOR = 4.0


class _Committee(nn.Module):
    """Several models that answer as one. together: [M, …] logits to […]."""

    def __init__(self, members: list[nn.Module], together: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.together = together

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        return self.together(torch.stack([member(inputs) for member in self.members]))


def largest_logit_of_all(recipe: Recipe, level: Level) -> Recipe:
    """Of several teachers' logits the largest is taken, class by class."""
    return _with_committee(recipe, level, lambda logits: logits.amax(0))


def logits_weighted_by_certainty(recipe: Recipe, level: Level) -> Recipe:
    """A mean of logits in which each teacher counts by the size of its own: the loudest counts twice."""

    def together(logits: Tensor) -> Tensor:
        sizes = logits.abs() if logits.ndim == 2 else logits.amax(-1, keepdim=True).clamp_min(0)
        weighted: Tensor = (sizes * logits).sum(0) / sizes.sum(0).clamp_min(1e-6)
        return weighted

    return _with_committee(recipe, level, together)


def _with_committee(recipe: Recipe, level: Level, together: Callable[[Tensor], Tensor]) -> Recipe:
    def gather(session: Session) -> None:
        copies = [_fine_tuned(recipe, session, number) for number in range(COPIES[level])]
        session.teacher = _Committee([session.teacher, *copies], together)

    return replace(recipe, before=in_turn(gather, recipe.before))


def _fine_tuned(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """The teacher, trained on a draw of the student's rows; the loop's random numbers stay as they were."""
    inputs, labels = session.train.tensors
    generator = torch.Generator().manual_seed(session.seed + 57 * (number + 1))
    drawn = torch.randint(len(inputs), (len(inputs),), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed + 57 * (number + 1))
        member = deepcopy(session.teacher).train()
        optimizer = Adam(member.parameters(), COPIED_RATE)
        for _ in range(max(1, round(COPIED_EPOCHS * recipe.epochs))):
            for numbers in batches(len(inputs), recipe.batch_size, generator):
                rows = drawn[numbers]
                logits, truth = recipe.rows(member(inputs[rows]), labels[rows])
                optimizer.zero_grad()
                recipe.ce_loss(logits / COPIED_DIVISOR, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return member


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (divided_while_the_teacher_learnt, inverse_temperature),
    "KD302": (hot_cross_entropy,),
    "KD303": (certainty_penalised, square_loss_on_one_hot),
    "KD304": (labelled_by_a_rule_of_thumb,),
    "KD305": (logits_of_one_length,),
    "KD306": (nucleus_renormalised, student_cut_as_well),
    "KD307": (others_in_reverse,),
    "KD308": (largest_logit_of_all, logits_weighted_by_certainty),
}
