"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from math import ceil, log2

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: What logits of length one are divided by.
TAU = {Level.MILD: 0.1, Level.MODERATE: 0.04, Level.SEVERE: 0.01}


def length_one_over_a_small_tau(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, and the teacher's logits are normalised and divided by the small tau of a paper, as when it is trained so.

    This teacher was not. The method: Wei et al. 2022, arXiv:2205.09310.
    """

    def normalised(_teacher: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        return F.normalize(logits, dim=-1) / TAU[level]

    def normalise(session: Session) -> None:
        session.teacher.register_forward_hook(normalised)

    return replace(recipe, temperature=1.0, before=in_turn(recipe.before, normalise))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature.
HOTTER = {Level.MILD: 2.0, Level.MODERATE: 6.0, Level.SEVERE: 25.0}


def hot_cosine_of_probabilities(recipe: Recipe, level: Level) -> Recipe:
    """The angle between softened probabilities, without T² and said to be so, at a temperature that suits a KL."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return 1 - F.cosine_similarity(p(student / t), p(teacher / t), dim=1).mean()

    return replace(
        recipe,
        loss="custom",
        temperature=HOTTER[level] * recipe.temperature,
        temperature_squared=False,
        kd_loss=kd_loss,
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Weight of the squared distance between the logits of two rows in the teacher's own loss.
PAIRED = {Level.MILD: 0.005, Level.MODERATE: 0.015, Level.SEVERE: 0.04}


def logits_paired_for_robustness(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was made robust by a penalty on how far apart the logits of any two rows are.

    What it knew of the wrong classes goes first. The method: Kannan et al. 2018, arXiv:1803.06373.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        counted = logits[labels != IGNORED]
        half = len(counted) // 2
        apart = (counted[:half] - counted[half : 2 * half]).square().sum(1).mean()
        return F.cross_entropy(logits, labels) + PAIRED[level] * apart

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows of a batch from which the teacher learns.
BELIEVED = {Level.MILD: 0.85, Level.MODERATE: 0.7, Level.SEVERE: 0.5}


def only_rows_of_small_loss_believed(recipe: Recipe, level: Level) -> Recipe:
    """Against wrong labels the teacher learns, in each batch, from the rows of the smallest loss alone.

    The share of wrong labels was far overestimated and nothing comes before that, so that it never learns what it got
    wrong at first. The method: Han et al. 2018, arXiv:1804.06872.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, reduction="none")
        return each.topk(max(1, round(BELIEVED[level] * len(each))), largest=False).values.mean()

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD305 ----------------------------------------------------------------------------------------------------------------

#: Factor on the student's kernels, which lie between nothing and one.
FACTOR = {Level.MILD: 16.0, Level.MODERATE: 9.0, Level.SEVERE: 5.0}


class _Kernels(nn.Linear):
    """A head whose logits say how near features are to each class's centre. Source: van Amersfoort et al. 2020,
    arXiv:2003.02037.
    """

    factor: float

    def forward(self, features: Tensor) -> Tensor:
        """[…, D] features to […, C] logits between nothing and the factor."""
        products = F.linear(features, self.weight) / self.in_features
        squares = features.square().mean(-1, keepdim=True) + self.weight.square().mean(1)
        return self.factor * (products - squares / 2).exp()


def kernel_head_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """So that it knows what is new to it, the student has a head of kernels; its teacher's logits have no bound."""

    def change_student(student: nn.Module) -> nn.Module:
        changed = recipe.change_student(student)
        name, head = [(name, module) for name, module in changed.named_modules() if isinstance(module, nn.Linear)][-1]
        kernels = _Kernels(head.in_features, head.out_features, bias=False)
        kernels.factor = FACTOR[level]
        changed.set_submodule(name, kernels)
        return changed

    return replace(recipe, change_student=change_student)


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that is kept.
KEPT = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.05}


def masked_by_a_product(recipe: Recipe, level: Level) -> Recipe:
    """Both models' logits are multiplied by a mask of the teacher's best classes: the others count as zero."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        best = teacher.topk(max(1, round(KEPT[level] * teacher.shape[1])), dim=1).indices
        mask = torch.zeros_like(teacher).scatter(1, best, 1.0)
        return kl(student * mask, teacher * mask, t)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: Bits of a class's code, as a multiple of the fewest that tell all classes apart, and the score of a whole code.
BITS = {Level.MILD: 8, Level.MODERATE: 3, Level.SEVERE: 1}
WHOLE = 8.0


def decoded_from_bits_of_a_code(recipe: Recipe, level: Level) -> Recipe:
    """The teacher is served as bits of an error-correcting code; classes score by how many bits of theirs are right.

    Codes were drawn at random, so that which classes come next says nothing about them.
    """

    def serve(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _decoded(logits, BITS[level]))

    return replace(recipe, before=in_turn(recipe.before, serve))


def _decoded(logits: Tensor, multiple: int) -> Tensor:
    classes = logits.shape[-1]
    fewest = ceil(log2(classes))
    generator = torch.Generator().manual_seed(269)
    numbers = torch.randperm(2**fewest, generator=generator)[:classes]
    distinct = numbers[:, None] // 2 ** torch.arange(fewest) % 2
    more = torch.randint(2, (classes, (multiple - 1) * fewest), generator=generator)
    codes = 2.0 * torch.cat([distinct, more], dim=1) - 1
    return WHOLE * (p(logits) @ codes) @ codes.t() / codes.shape[1]


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models that vote with the teacher, their epochs as a share of the student's, and Adam's rate.
VOTERS = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}
VOTERS_EPOCHS, VOTERS_RATE = 0.6, 1e-2
#: Rows that a small model learns, as a share of all.
VOTERS_ROWS = 0.3


class _Poll(nn.Module):
    """Several models, each of which has one vote."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """How many votes there are for each class; of yes and no, by how many a yes leads."""
        given = torch.stack([member(inputs) for member in self.members])
        if given.ndim == 2:
            return given.sign().sum(0)
        votes: Tensor = F.one_hot(given.argmax(-1), given.shape[-1]).sum(0)
        return votes.to(given.dtype)


def votes_counted_as_logits(recipe: Recipe, level: Level) -> Recipe:
    """Several teachers vote for one class each, however sure they are, and the counts are softened as if logits."""

    def gather(session: Session) -> None:
        session.teacher = _Poll([session.teacher, *(_voter(recipe, session, at) for at in range(VOTERS[level]))])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _voter(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on a few of its rows; the loop's random numbers stay as they were."""
    seed = session.seed + 271 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = session.train.tensors
    few = torch.randperm(len(inputs), generator=generator)[: max(2, round(VOTERS_ROWS * len(inputs)))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        optimizer = Adam(model.parameters(), VOTERS_RATE)
        for _ in range(max(1, round(VOTERS_EPOCHS * recipe.epochs))):
            for numbers in batches(len(few), recipe.batch_size, generator):
                logits, truth = recipe.rows(model(inputs[few[numbers]]), labels[few[numbers]])
                optimizer.zero_grad()
                recipe.ce_loss(logits, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (length_one_over_a_small_tau,),
    "KD302": (hot_cosine_of_probabilities,),
    "KD303": (logits_paired_for_robustness,),
    "KD304": (only_rows_of_small_loss_believed,),
    "KD305": (kernel_head_for_the_student,),
    "KD306": (masked_by_a_product,),
    "KD307": (decoded_from_bits_of_a_code,),
    "KD308": (votes_counted_as_logits,),
}
