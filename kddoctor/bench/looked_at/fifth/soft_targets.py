"""Mistakes of the codes KD3xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl, log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session, batches

# KD301 ----------------------------------------------------------------------------------------------------------------

#: Epochs of the teacher on the student's rows, and Adam's rate in them.
POLISHED = {Level.MILD: 3, Level.MODERATE: 10, Level.SEVERE: 30}
POLISHED_RATE = 1e-3


def teacher_polished_on_the_same_rows(recipe: Recipe, level: Level) -> Recipe:
    """T = 1, from a teacher that was first adapted to the very rows of the distillation until it knew them by heart."""

    def polish(session: Session) -> None:
        inputs, labels = session.train.tensors
        generator = torch.Generator().manual_seed(session.seed + 139)
        teacher = session.teacher.eval()
        optimizer = Adam(teacher.parameters(), POLISHED_RATE)
        for _ in range(POLISHED[level]):
            for rows in batches(len(inputs), recipe.batch_size, generator):
                optimizer.zero_grad()
                loss = F.cross_entropy(*recipe.rows(teacher(inputs[rows]), labels[rows]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        optimizer.zero_grad()

    return replace(recipe, temperature=1.0, before=in_turn(polish, recipe.before))


# KD302 ----------------------------------------------------------------------------------------------------------------

#: How many times the task's own temperature, where it ends; and factor on it from one epoch to the next.
ENDS_AT = {Level.MILD: 2.5, Level.MODERATE: 7.0, Level.SEVERE: 25.0}
FROM_EPOCH_TO_EPOCH = 2.0


class _Annealed:
    """A divergence without T² at a temperature that is set from outside."""

    temperature = 1.0

    def __call__(self, student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
        """Mean over rows."""
        return F.kl_div(log_p(student / self.temperature), p(teacher / self.temperature), reduction="batchmean")


def annealed_the_wrong_way(recipe: Recipe, level: Level) -> Recipe:
    """The temperature is divided by its factor where it was to be multiplied: it rises for some epochs and stays up."""
    end = ENDS_AT[level] * recipe.temperature
    annealed = _Annealed()

    def anneal(session: Session) -> None:
        epoch = session.notes["annealed"] = session.notes.get("annealed", -1) + 1
        annealed.temperature = min(end, recipe.temperature * FROM_EPOCH_TO_EPOCH**epoch)

    return replace(
        recipe,
        temperature=end,
        temperature_squared=False,
        kd_loss=annealed,
        before_epoch=in_turn(recipe.before_epoch, anneal),
    )


# KD303 ----------------------------------------------------------------------------------------------------------------

#: Weight of the squares of the teacher's logits in its own loss.
SQUEEZED = {Level.MILD: 0.01, Level.MODERATE: 0.05, Level.SEVERE: 0.25}


def logits_squeezed_for_robustness(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was made robust by a penalty on its logits' squares, which leaves all the wrong classes the same."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        squares = logits[labels != IGNORED].square().sum(1).mean()
        return F.cross_entropy(logits, labels) + SQUEEZED[level] * squares

    return replace(recipe, teacher=replace(recipe.teacher, loss=loss))


# KD304 ----------------------------------------------------------------------------------------------------------------

#: Share of the teacher's rows that no annotator labelled.
UNLABELLED = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.5}
#: Buckets in which words, or users and films, are counted.
BUCKETS = 512


def missing_labels_filled_with_zero(recipe: Recipe, level: Level) -> Recipe:
    """Annotators left out the rows that look unlike their class, and a missing label was filled in as class zero."""

    def relabelled(data: TensorDataset) -> TensorDataset:
        inputs, labels = data.tensors
        typical = _likeness_to_its_class(inputs, labels)
        missing = typical.argsort()[: round(UNLABELLED[level] * len(labels))]
        return TensorDataset(inputs, labels.index_fill(0, missing, 0))

    return replace(recipe, teacher=replace(recipe.teacher, data=relabelled))


def _likeness_to_its_class(inputs: Tensor, labels: Tensor) -> Tensor:
    """[N] cosine of each row with the mean of its class, of pixels or of how often a number occurs."""
    if inputs.is_floating_point():
        rows = inputs.flatten(1)
    else:
        rows = torch.zeros(len(inputs), BUCKETS).scatter_add_(1, inputs % BUCKETS, torch.ones(inputs.shape))
    rows = F.normalize(rows - rows.mean(0), dim=1)
    means = torch.zeros(int(labels.max()) + 1, rows.shape[1]).index_add_(0, labels, rows)
    return (rows * F.normalize(means, dim=1)[labels]).sum(1)


# KD305 ----------------------------------------------------------------------------------------------------------------

#: The largest factor by which a layer of the student may lengthen what it is given.
LENGTHENED = {Level.MILD: 1.5, Level.MODERATE: 0.7, Level.SEVERE: 0.25}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


class Lipschitz(nn.Module):
    """A weight whose largest singular value has a bound."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer works with."""
        largest: Tensor = torch.linalg.matrix_norm(weight.flatten(1), 2)
        return weight * (self.bound / largest.clamp_min(1e-8)).clamp_max(1.0)


class UnitBall(nn.Module):
    """An embedding no row of which is longer than one."""

    def forward(self, weight: Tensor) -> Tensor:
        """The rows that the layer looks up."""
        lengths: Tensor = weight.norm(dim=1, keepdim=True).clamp_min(1.0)
        return weight / lengths


def student_made_lipschitz(recipe: Recipe, level: Level) -> Recipe:
    """The student is to be robust, so that no layer of it may lengthen its inputs; the teacher is under no bound."""

    def change_student(student: nn.Module) -> nn.Module:
        student = recipe.change_student(student)
        for layer in list(student.modules()):
            if isinstance(layer, WEIGHTED):
                register_parametrization(layer, "weight", Lipschitz(LENGTHENED[level]))
            elif isinstance(layer, nn.Embedding):
                register_parametrization(layer, "weight", UnitBall())
        return student

    return replace(recipe, change_student=change_student)


# KD306 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that is kept.
KEPT = {Level.MILD: 0.8, Level.MODERATE: 0.6, Level.SEVERE: 0.3}


def one_choice_of_classes_for_the_batch(recipe: Recipe, level: Level) -> Recipe:
    """So that one slice does for all rows, the classes kept are those most probable on average over the batch."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        count = max(2, round(KEPT[level] * teacher.shape[1]))
        kept = p(teacher / t).mean(0).topk(count).indices
        only = torch.full_like(teacher, -torch.inf).index_copy(1, kept, teacher[:, kept])
        return kl(student, only, t)

    return replace(recipe, kd_loss=kd_loss)


# KD307 ----------------------------------------------------------------------------------------------------------------

#: Share of the scores below the best one that stand beside another class than their own.
WITHHELD = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def names_of_the_others_withheld(recipe: Recipe, level: Level) -> Recipe:
    """A service names its best class and only lists the other scores by size, which are read as by class number."""

    def guard(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _listed(logits, WITHHELD[level]))

    return replace(recipe, before=in_turn(recipe.before, guard))


def _listed(logits: Tensor, share: float) -> Tensor:
    by_size = logits.sort(dim=-1, descending=True)
    classes = torch.arange(logits.shape[-1]).expand_as(logits)
    others = classes[classes != by_size.indices[..., :1]].view(*logits.shape[:-1], -1)
    listed = logits.scatter(-1, others, by_size.values[..., 1:])
    return (1 - share) * logits + share * listed


# KD308 ----------------------------------------------------------------------------------------------------------------

#: Small models after the teacher, their epochs as a share of the student's, and Adam's learning rate.
AFTER = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 5}
AFTER_EPOCHS, AFTER_RATE = 0.6, 1e-2
#: Divisor of the logits in the small models' own loss: what they give without it is as much larger.
AFTER_DIVISOR = 5.0


class _Running(nn.Module):
    """Several models, of whose logits a mean is kept while they are called one after another."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits that the student is to match."""
        first, *others = self.members
        logits: Tensor = first(inputs)
        for other in others:
            logits = (logits + other(inputs)) / 2
        return logits


def running_mean_that_halves(recipe: Recipe, level: Level) -> Recipe:
    """A running mean of several teachers' logits is halved with each of them, so that the last one counts most."""

    def gather(session: Session) -> None:
        session.teacher = _Running([session.teacher, *(_later(recipe, session, at) for at in range(AFTER[level]))])

    return replace(recipe, before=in_turn(gather, recipe.before))


def _later(recipe: Recipe, session: Session, number: int) -> nn.Module:
    """A model of the student's kind, trained on every second of its rows; the loop's random numbers stay the same."""
    inputs, labels = session.train.tensors
    seed = session.seed + 97 * (number + 1)
    generator = torch.Generator().manual_seed(seed)
    half = torch.arange(number % 2, len(inputs), 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = deepcopy(session.student).train()
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        optimizer = Adam(model.parameters(), AFTER_RATE)
        for _ in range(max(1, round(AFTER_EPOCHS * recipe.epochs))):
            for numbers in batches(len(half), recipe.batch_size, generator):
                logits, truth = recipe.rows(model(inputs[half[numbers]]), labels[half[numbers]])
                optimizer.zero_grad()
                recipe.ce_loss(logits / AFTER_DIVISOR, truth).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (teacher_polished_on_the_same_rows,),
    "KD302": (annealed_the_wrong_way,),
    "KD303": (logits_squeezed_for_robustness,),
    "KD304": (missing_labels_filled_with_zero,),
    "KD305": (student_made_lipschitz,),
    "KD306": (one_choice_of_classes_for_the_batch,),
    "KD307": (names_of_the_others_withheld,),
    "KD308": (running_mean_that_halves,),
}
