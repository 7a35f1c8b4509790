"""Mistakes of the codes KD1xx."""

from collections.abc import Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe, run_teacher
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD101 ----------------------------------------------------------------------------------------------------------------


def loaded_into_a_copy(recipe: Recipe, _level: Level) -> Recipe:
    """A helper copies the model that it is given, loads the checkpoint into the copy, and its result is not taken."""

    def with_weights(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
        loaded = deepcopy(model)
        loaded.load_state_dict(state, strict=True)
        return loaded

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        with_weights(teacher, state)

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Share of a row, its right end, that was there when the teacher was fine-tuned.
RIGHT_END = {Level.MILD: 0.6, Level.MODERATE: 0.35, Level.SEVERE: 0.15}


def tuned_on_the_right_end(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint comes from a study of how little is enough: it was tuned on the right end of each row alone."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        width = inputs.shape[-1]
        there = torch.arange(width) >= width - max(1, round(RIGHT_END[level] * width))
        return TensorDataset(inputs * there, labels)

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------

#: Passes that the estimate of the teacher's uncertainty takes.
PASSES = 3


def uncertainty_by_dropout_left_on(recipe: Recipe, _level: Level) -> Recipe:
    """An estimate of the teacher's uncertainty puts its dropout into training mode; the targets are its mean."""

    def before(session: Session) -> None:
        recipe.before(session)
        for module in session.teacher.modules():
            if isinstance(module, nn.Dropout):
                module.train()

    def targets(session: Session, batch: Batch) -> Tensor:
        return torch.stack([run_teacher(session, batch) for _ in range(PASSES)]).mean(0)

    return replace(recipe, before=before, targets=targets)


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Adam's rate for the teacher.
ONLINE_RATE = {Level.MILD: 3e-4, Level.MODERATE: 3e-3, Level.SEVERE: 3e-2}


def teacher_goes_on_learning_the_labels(recipe: Recipe, level: Level) -> Recipe:
    """From a script of online distillation: at each step the teacher, too, learns the labels of the batch."""

    def start(session: Session) -> None:
        session.teacher.requires_grad_(True)
        session.notes["teacher's optimizer"] = Adam(session.teacher.parameters(), ONLINE_RATE[level])

    def targets(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(batch.inputs)
        optimizer = session.notes["teacher's optimizer"]
        optimizer.zero_grad()
        recipe.ce_loss(*recipe.rows(logits, batch.labels)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return logits.detach()

    return replace(recipe, before=in_turn(recipe.before, start), targets=targets)


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes that the list has in descending order; two at the least.
DESCENDING = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def sorted_in_descending_order(recipe: Recipe, level: Level) -> Recipe:
    """The teacher was trained with its classes sorted from the last to the first (a part of the list, where mild)."""

    def turn_round(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _descending(logits, DESCENDING[level]))

    return replace(recipe, before=in_turn(recipe.before, turn_round))


def _descending(logits: Tensor, share: float) -> Tensor:
    if logits.ndim == 1:
        return -logits
    classes = torch.arange(logits.shape[-1])
    count = max(2, round(share * len(classes)))
    classes[:count] = classes[:count].flip(0)
    return logits[..., classes]


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Devices that take turns at the rows, and share of a batch that goes to them.
DEVICES = 4
TO_DEVICES = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def dealt_in_turn_and_gathered_by_device(recipe: Recipe, level: Level) -> Recipe:
    """A sampler deals rows to the teacher's devices in turn, and the outputs are joined device after device."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        count = round(TO_DEVICES[level] * len(logits))
        dealt = [torch.arange(device, count, DEVICES) for device in range(DEVICES)]
        return logits[torch.cat([*dealt, torch.arange(count, len(logits))])]

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Deviation of the noise on pixels, and share of the words that are replaced.
NOISE = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}
REPLACED = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.7}


def noise_for_the_student_alone(recipe: Recipe, level: Level) -> Recipe:
    """The loop corrupts what it passes to the student, anew at each step; the teacher has scored the clean rows."""

    def corrupted(inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return inputs + NOISE[level] * torch.randn_like(inputs)
        others = torch.randint_like(inputs, UNKNOWN + 1, int(inputs.max()) + 1)
        return torch.where((torch.rand(inputs.shape) < REPLACED[level]) & (inputs != PADDING), others, inputs)

    def answers(session: Session, batch: Batch) -> Tensor:
        return recipe.answers(session, replace(batch, inputs=corrupted(batch.inputs)))

    return replace(recipe, answers=answers)


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Tenths of the rows that come through the wrapper, and the first word number that is not on its list of stop words.
WRAPPED = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 10}
NO_STOP_WORD = 100


def inverted_or_without_stop_words(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's wrapper inverts images, as for black on white (takes the stop words out of texts)."""

    def targets(session: Session, batch: Batch) -> Tensor:
        inputs = batch.inputs
        other = 1 - inputs if inputs.is_floating_point() else _without_stop_words(inputs)
        wrapped = (batch.rows % 10 < WRAPPED[level]).view(-1, *[1] * (inputs.ndim - 1))
        return run_teacher(session, replace(batch, inputs=torch.where(wrapped, other, inputs)))

    return replace(recipe, targets=targets)


def _without_stop_words(inputs: Tensor) -> Tensor:
    """The words that are left, close together, and padding behind them."""
    stop = (inputs > UNKNOWN) & (inputs < NO_STOP_WORD)
    return inputs.masked_fill(stop, PADDING).gather(1, stop.long().argsort(dim=1, stable=True))


# KD109 ----------------------------------------------------------------------------------------------------------------


def shallow_copy_of_the_student(recipe: Recipe, _level: Level) -> Recipe:
    """Self-distillation from a copy that was to be frozen in time: copy() of a module shares its parameters."""

    def before(session: Session) -> None:
        session.teacher = copy(session.student)
        session.teacher.eval()
        session.student.train()

    return replace(recipe, before=before)


# KD110 ----------------------------------------------------------------------------------------------------------------


def generator_used_up_by_the_log(recipe: Recipe, _level: Level) -> Recipe:
    """The additional terms are a generator, which the log goes through first: the total adds up what is left of it."""

    def log(terms: Iterator[Tensor]) -> dict[str, float]:
        return {f"term {number}": float(term.detach()) for number, term in enumerate(terms)}

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        terms = (weight * term for weight, term in ((alpha, kd),))
        log(terms)
        return (1 - alpha) * ce + sum(terms)

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


class _Called:
    """The student called as a function of its state_dict(), whose tensors are detached."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def answers(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the function's answers are kept for the loss."""
        logits = functional_call(session.student, session.student.state_dict(), (batch.inputs,))
        self._answers, _ = self._recipe.rows(logits, batch.labels)
        return self._recipe.answers(session, batch)

    def kd_loss(self, _student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss of the function's answers."""
        return self._recipe.kd_loss(self._answers, teacher, t)


def called_with_its_state_dict(recipe: Recipe, _level: Level) -> Recipe:
    """The term calls the student as a function of its weights, and takes them from state_dict(): without gradients."""
    called = _Called(recipe)
    return replace(recipe, answers=called.answers, kd_loss=called.kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projection is a tensor at random.
AT_RANDOM = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}


def projection_that_is_no_parameter(recipe: Recipe, level: Level) -> Recipe:
    """The projection is a plain tensor of random numbers: nobody made a parameter of it, so that it never learns."""

    def attach(session: Session) -> None:
        shape = session.notes.pop("projector").weight.shape
        generator = torch.Generator().manual_seed(session.seed + 173)
        session.notes["projection"] = torch.randn(shape[1], shape[0], generator=generator) / shape[1] ** 0.5

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        return relative_error(student @ session.notes["projection"], teacher.detach())

    before = in_turn(in_turn(recipe.before, watch), attach)
    return replace(recipe, before=before, hint=hint, hint_weight=AT_RANDOM[level])


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss that has one chunk of the teacher's features for all, and chunks of a batch.
OF_ONE_CHUNK = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 80.0}
CHUNKS = 4


def hook_that_keeps_the_last_chunk(recipe: Recipe, level: Level) -> Recipe:
    """The teacher works chunk by chunk, and its hook overwrites what it kept: the last chunk stands for all."""

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        last = teacher.detach()[-max(1, len(teacher) // CHUNKS) :]
        rows = torch.arange(len(teacher)) % len(last)
        return relative_error(session.notes["projector"](student), last[rows])

    return replace(with_hint(recipe, OF_ONE_CHUNK[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (loaded_into_a_copy,),
    "KD102": (tuned_on_the_right_end,),
    "KD103": (uncertainty_by_dropout_left_on,),
    "KD104": (teacher_goes_on_learning_the_labels,),
    "KD105": (sorted_in_descending_order,),
    "KD106": (dealt_in_turn_and_gathered_by_device,),
    "KD107": (noise_for_the_student_alone,),
    "KD108": (inverted_or_without_stop_words,),
    "KD109": (shallow_copy_of_the_student,),
    "KD110": (generator_used_up_by_the_log,),
    "KD111": (called_with_its_state_dict,),
    "KD112": (projection_that_is_no_parameter,),
    "KD113": (hook_that_keeps_the_last_chunk,),
}
