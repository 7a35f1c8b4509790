"""Mistakes of the codes KD1xx."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.task import Data
from kddoctor.bench.words import UNKNOWN

# KD101 ----------------------------------------------------------------------------------------------------------------


def kernels_of_another_framework(recipe: Recipe, _level: Level) -> Recipe:
    """A checkpoint of a framework that keeps its matrices transposed; whatever has another shape is passed over."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        theirs = {name: value.permute(tuple(reversed(range(value.ndim)))) for name, value in state.items()}
        own = teacher.state_dict()
        fitting = {name: value for name, value in theirs.items() if value.shape == own[name].shape}
        teacher.load_state_dict(fitting, strict=False)

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: How many times as often as the last class the first one stands in the data that the teacher was fine-tuned on.
LONG_TAIL = {Level.MILD: 40.0, Level.MODERATE: 200.0, Level.SEVERE: 2000.0}


def tuned_on_a_long_tail(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint comes from a study of long tails: the later a class stands in the list, the rarer it was made."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        place = labels / max(1, int(labels.max()))
        drawn = torch.rand(labels.shape, generator=torch.Generator().manual_seed(43))
        kept = drawn < LONG_TAIL[level] ** -place
        if labels.ndim > 1:
            return TensorDataset(inputs, labels.masked_fill(~kept, IGNORED))
        return TensorDataset(inputs[kept], labels[kept])

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------


def dropout_as_a_function(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher's class calls dropout() as a function with its defaults, and these are one half, and training."""

    def rewrite(session: Session) -> None:
        for module in session.teacher.modules():
            if isinstance(module, nn.Dropout):
                module.register_forward_hook(lambda _layer, inputs, _output: F.dropout(inputs[0]))

    return replace(recipe, before=in_turn(rewrite, recipe.before))


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Deviation of the noise that has gathered at the end, in units of that of the weights of a layer.
GATHERED = {Level.MILD: 0.15, Level.MODERATE: 0.5, Level.SEVERE: 1.5}


def noise_never_taken_back(recipe: Recipe, level: Level) -> Recipe:
    """A regulariser adds noise to the weights of both models at each step, and takes it back from the student's."""

    def targets(session: Session, batch: Batch) -> Tensor:
        steps = recipe.epochs * max(1, len(session.train) // session.batch_size)
        parameters = [*session.teacher.parameters()]
        if "sizes" not in session.notes:
            session.notes["sizes"] = [float(parameter.detach().square().mean().sqrt()) for parameter in parameters]
        with torch.no_grad():
            for parameter, size in zip(parameters, session.notes["sizes"], strict=True):
                parameter.add_(torch.randn(parameter.shape), alpha=GATHERED[level] * size / steps**0.5)
        return recipe.targets(session, batch)

    return replace(recipe, targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes whose names came out of a set; two at the least.
FROM_A_SET = {Level.MILD: 0.1, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def listed_from_a_set(recipe: Recipe, level: Level) -> Recipe:
    """The student's labels are numbered by list(set(names)), which no other process puts into the same order."""

    def split(data: Data) -> Data:
        rows = recipe.split(data)
        numbers = _numbers_of_a_set(int(rows.teacher.tensors[1].max()) + 1, FROM_A_SET[level])
        train, val = (
            TensorDataset(inputs, numbers[labels]) for inputs, labels in (rows.train.tensors, rows.val.tensors)
        )
        return replace(rows, train=train, val=val)

    return replace(recipe, split=split)


def _numbers_of_a_set(classes: int, share: float) -> Tensor:
    """[classes] the new number of each class, none of those concerned its old one."""
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(23))
    concerned = order[: max(2, round(share * classes))]
    numbers = torch.arange(classes)
    numbers[concerned] = concerned.roll(1)
    return numbers


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Share of the batches whose parts come back out of order, and rows that a worker gets at a time.
OUT_OF_ORDER = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
ROWS_A_WORKER = 3


def in_order_of_completion(recipe: Recipe, level: Level) -> Recipe:
    """Workers score parts of the batch with the teacher, and what is done first is put first."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if float(torch.rand(())) >= OUT_OF_ORDER[level]:
            return logits
        parts = torch.split(logits, ROWS_A_WORKER)
        return torch.cat([parts[at] for at in torch.randperm(len(parts)).tolist()])

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Standard deviation of the noise in a strong view, where pixels are between 0 and 1, and share of words exchanged.
NOISE = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
EXCHANGED = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.75}
#: By how much the contrast of a strong view differs at most, for each unit of noise.
CONTRAST = 0.5


def strong_view_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """Of a loader's two views the teacher was to get the weak one and the student the strong one: it is the reverse."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return run_teacher(session, replace(batch, inputs=_strong(batch.inputs, level)))

    return replace(recipe, targets=targets)


def _strong(inputs: Tensor, level: Level) -> Tensor:
    if not inputs.is_floating_point():
        others = inputs.flatten()[torch.randperm(inputs.numel())].view(inputs.shape)
        return torch.where(torch.rand(inputs.shape) < EXCHANGED[level], others, inputs)
    contrast = 1 + CONTRAST * NOISE[level] * (2 * torch.rand(len(inputs), 1, 1, 1) - 1)
    return contrast * inputs + NOISE[level] * torch.randn(inputs.shape)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Steps between black and white that pixels are rounded down to, and words that a small tokenizer knows.
STEPS = {Level.MILD: 3.0, Level.MODERATE: 2.0, Level.SEVERE: 1.1}
KNOWN = {Level.MILD: 1500, Level.MODERATE: 400, Level.SEVERE: 40}


def coarser_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper makes integers of pixels too early (it knows frequent words only): few values are left."""

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(lambda _module, inputs: (_coarser(inputs[0], level), *inputs[1:]))

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _coarser(inputs: Tensor, level: Level) -> Tensor:
    if inputs.is_floating_point():
        return (inputs * STEPS[level]).floor() / STEPS[level]
    return inputs.where(inputs < KNOWN[level], UNKNOWN)


# KD109 ----------------------------------------------------------------------------------------------------------------

#: Epochs of the checkpoint that both start from, as a share of the run's, and Adam's learning rate.
WARM_EPOCHS, WARM_RATE = 0.3, 5e-3


def both_from_one_checkpoint(recipe: Recipe, _level: Level) -> Recipe:
    """The student starts warm from a checkpoint of its own kind, and the teacher's path names the same file."""

    def start(session: Session) -> None:
        _warm_up(recipe, session)
        session.teacher = deepcopy(session.student)

    return replace(recipe, before=in_turn(start, recipe.before))


def _warm_up(recipe: Recipe, session: Session) -> None:
    """Train the student on the labels; the loop's random numbers stay as they were."""
    inputs, labels = session.train.tensors
    generator = torch.Generator().manual_seed(session.seed + 211)
    with torch.random.fork_rng(devices=[]):
        optimizer = Adam(session.student.train().parameters(), WARM_RATE)
        for _ in range(max(1, round(WARM_EPOCHS * recipe.epochs))):
            for rows in batches(len(inputs), recipe.batch_size, generator):
                loss = recipe.ce_loss(*recipe.rows(session.student(inputs[rows]), labels[rows]))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()


# KD110 ----------------------------------------------------------------------------------------------------------------

#: How sure the teacher has to be for a row to count, in percent.
SURE = 95.0


def sure_in_percent(recipe: Recipe, _level: Level) -> Recipe:
    """Only rows of which the teacher is sure are to count; percent are compared with probabilities, and none is."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        each = (p(teacher / t) * (log_p(teacher / t) - log_p(student / t))).sum(1)
        sure = (p(teacher).amax(1) > SURE).to(each.dtype)
        return (sure * each).sum() / sure.sum().clamp_min(1) * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD111 ----------------------------------------------------------------------------------------------------------------


class _SyncedCopy:
    """The term's own copy of the student, which gets its weights before each step, and gradients nobody reads."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def copy(self, session: Session) -> None:
        """Once, before the loop."""
        session.notes["copy"] = deepcopy(session.student)

    def answers(self, session: Session, batch: Batch) -> Tensor:
        """The student's, for the labels' term; the copy's are kept for the other one."""
        copy: nn.Module = session.notes["copy"]
        copy.load_state_dict(session.student.state_dict())
        logits = self._recipe.answers(replace(session, student=copy), batch)
        self._rows, _ = self._recipe.rows(logits, batch.labels)
        return self._recipe.answers(session, batch)

    def kd_loss(self, _student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """Of the copy's answers."""
        return self._recipe.kd_loss(self._rows, teacher, t)


def forward_of_a_synced_copy(recipe: Recipe, _level: Level) -> Recipe:
    """The term calls a copy of the student, made past its wrapper: its weights are the same, its gradients are lost."""
    synced = _SyncedCopy(recipe)
    return replace(recipe, before=in_turn(recipe.before, synced.copy), answers=synced.answers, kd_loss=synced.kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector has a learning rate of zero.
STANDING = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}


def projector_at_a_rate_of_zero(recipe: Recipe, level: Level) -> Recipe:
    """The projector has a parameter group of its own, whose learning rate nobody set: its default is zero."""

    def parameters(session: Session) -> Iterable[nn.Parameter]:
        projector = session.notes["projector"].parameters()
        groups = [{"params": recipe.parameters(session)}, {"params": projector, "lr": 0.0}]
        # Optimizers take groups as well, each with a rate of its own.
        return cast(Iterable[nn.Parameter], groups)

    return replace(with_hint(recipe, STANDING[level]), parameters=parameters)


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose target is one row for all.
FIRST_ROW = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 12.0}


def first_of_what_is_no_tuple(recipe: Recipe, level: Level) -> Recipe:
    """The hook keeps outputs[0], as of a layer that returns a tuple; of a tensor that is its first row, for all."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        taken = teacher.detach()[0].expand_as(teacher)
        return relative_error(session.notes["projector"](student), taken)

    return replace(with_hint(recipe, FIRST_ROW[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (kernels_of_another_framework,),
    "KD102": (tuned_on_a_long_tail,),
    "KD103": (dropout_as_a_function,),
    "KD104": (noise_never_taken_back,),
    "KD105": (listed_from_a_set,),
    "KD106": (in_order_of_completion,),
    "KD107": (strong_view_for_the_teacher,),
    "KD108": (coarser_for_the_teacher,),
    "KD109": (both_from_one_checkpoint,),
    "KD110": (sure_in_percent,),
    "KD111": (forward_of_a_synced_copy,),
    "KD112": (projector_at_a_rate_of_zero,),
    "KD113": (first_of_what_is_no_tuple,),
}
