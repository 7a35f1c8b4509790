"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session, batches

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Share that the other run's checkpoint has in the average, its epochs as a share of the student's, and Adam's rate.
OF_THE_OTHER = {Level.MILD: 0.2, Level.MODERATE: 0.35, Level.SEVERE: 0.5}
OTHER_EPOCHS, OTHER_RATE = 0.5, 1e-2


def averaged_with_another_run(recipe: Recipe, level: Level) -> Recipe:
    """All checkpoints of a folder are averaged for the export, and one is of another run, which began elsewhere."""

    def average(session: Session) -> None:
        other = _another_run(recipe, session).state_dict()
        averaged = {
            name: torch.lerp(tensor, other[name], OF_THE_OTHER[level]) if tensor.is_floating_point() else tensor
            for name, tensor in session.student.state_dict().items()
        }
        session.student.load_state_dict(averaged)

    return replace(recipe, after=in_turn(recipe.after, average))


def _another_run(recipe: Recipe, session: Session) -> nn.Module:
    """A student with other first weights, trained on the labels; the loop's random numbers stay as they were."""
    seed = session.seed + 277
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = session.train.tensors
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        optimizer = Adam(model.parameters(), OTHER_RATE)
        for _ in range(max(1, round(OTHER_EPOCHS * recipe.epochs))):
            for rows in batches(len(inputs), recipe.batch_size, generator):
                optimizer.zero_grad()
                loss = recipe.ce_loss(*recipe.rows(model(inputs[rows]), labels[rows]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


# KD702 ----------------------------------------------------------------------------------------------------------------

#: How often the service reads what the training read once.
RATE = {Level.MILD: 1.2, Level.MODERATE: 1.5, Level.SEVERE: 2.5}


def read_at_another_rate(recipe: Recipe, level: Level) -> Recipe:
    """The service samples more finely than the training did: images come out wide, words twice, ends are cut off."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        places = (torch.arange(inputs[0].shape[-1]) / RATE[level]).long()
        return inputs[0][..., places]

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Values that a tensor's code book has room for, and rounds in which these are moved.
VALUES = {Level.MILD: 5, Level.MODERATE: 3, Level.SEVERE: 2}
ROUNDS = 10


def short_code_book_for_each_tensor(recipe: Recipe, level: Level) -> Recipe:
    """Weights are replaced by the nearest value of a code book, which was found by clustering and is far too short."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for weight in session.student.parameters():
            if weight.ndim > 1:
                weight.copy_(_clustered(weight.flatten(), VALUES[level]).view_as(weight))

    return replace(recipe, after=in_turn(recipe.after, quantise))


def _clustered(values: Tensor, count: int) -> Tensor:
    """Each value's nearest centre of so many. Source: Han et al. 2016, arXiv:1510.00149."""
    least, largest = values.aminmax()
    centres = least + (largest - least) * torch.linspace(0, 1, count)
    for _ in range(ROUNDS):
        nearest = (values[:, None] - centres).abs().argmin(1)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros(count).index_add(0, nearest, values)
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
    return centres[(values[:, None] - centres).abs().argmin(1)]


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Workers, and milliseconds that a batch may take.
WORKERS = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 16}
ALLOWED_MS = 0.2


def copied_for_each_worker(recipe: Recipe, level: Level) -> Recipe:
    """So that threads do not share it, the student is copied for each worker whenever a request comes in.

    The time that a batch may take was set for the plain student.
    """

    def copy(student: nn.Module, _inputs: object) -> None:
        for _ in range(WORKERS[level]):
            deepcopy(student)

    def export(session: Session) -> None:
        session.student.register_forward_pre_hook(copy)

    return replace(recipe, after=in_turn(recipe.after, export), wanted={"latency_ms": ALLOWED_MS})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Quantile of the teacher's score that the student is to give.
QUANTILE = {Level.MILD: 0.7, Level.MODERATE: 0.85, Level.SEVERE: 0.98}


def high_quantile_of_the_score(recipe: Recipe, level: Level) -> Recipe:
    """The loss of a forecast that must not run out: to score below the teacher costs many times as much as above."""

    def kd_loss(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
        short = (teacher[:, 1] - teacher[:, 0]) - (student[:, 1] - student[:, 0])
        return torch.maximum(QUANTILE[level] * short, (QUANTILE[level] - 1) * short).mean()

    return replace(recipe, loss="custom", alpha=1.0, kd_loss=kd_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (averaged_with_another_run,),
    "KD702": (read_at_another_rate,),
    "KD703": (short_code_book_for_each_tensor,),
    "KD704": (copied_for_each_worker,),
    "KD705": (high_quantile_of_the_score,),
}
