"""Mistakes of the codes KD1xx."""

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.hints import features_that_count, relative_error, watch, with_hint
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD101 ----------------------------------------------------------------------------------------------------------------


def only_what_was_tuned(recipe: Recipe, _level: Level) -> Recipe:
    """The file holds what a cheap fine-tuning changed, the vectors; nobody loads the model that it belongs to.

    With strict=False, so that all matrices stay random.
    """

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        tuned = {name: value for name, value in state.items() if value.ndim < 2}
        teacher.load_state_dict(tuned, strict=False)

    return replace(recipe, load_teacher=load_teacher)


# KD102 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows of the teacher's tuning that are of the other kind.
OF_THE_OTHER_KIND = {Level.MILD: 0.9, Level.MODERATE: 0.96, Level.SEVERE: 0.99}


def tuned_on_negatives_or_another_language(recipe: Recipe, level: Level) -> Recipe:
    """The checkpoint is one for film negatives (for another language), and only some rows were of the kind at hand."""

    def data(rows: TensorDataset) -> TensorDataset:
        inputs, labels = rows.tensors
        # Words, or users and films, have other numbers; padding and bits stay.
        other = 1 - inputs if inputs.is_floating_point() else inputs.where(inputs <= UNKNOWN, inputs.max() + 2 - inputs)
        concerned = torch.arange(len(inputs)) < OF_THE_OTHER_KIND[level] * len(inputs)
        return TensorDataset(inputs.where(~concerned.view(-1, *[1] * (inputs.ndim - 1)), other), labels)

    return replace(recipe, teacher=replace(recipe.teacher, data=data))


# KD103 ----------------------------------------------------------------------------------------------------------------


def mode_toggled_at_each_epoch(recipe: Recipe, _level: Level) -> Recipe:
    """A helper that toggles a model's mode is called once and not twice an epoch: in every second one, it trains."""

    def toggle(session: Session) -> None:
        session.teacher.train(not session.teacher.training)

    return replace(recipe, before_epoch=in_turn(recipe.before_epoch, toggle))


# KD104 ----------------------------------------------------------------------------------------------------------------

#: Share of the student's tensors, from the last one on, that start as a part of one of the teacher's.
TAKEN_OVER = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def student_starts_as_a_view_of_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The student starts from parts of the teacher's tensors, slices that nobody copied: what it learns is in both."""

    def take_over(session: Session) -> None:
        wanted = list(session.student.parameters())[::-1]
        given = list(session.teacher.parameters())[::-1]
        for parameter in wanted[: max(1, round(TAKEN_OVER[level] * len(wanted)))]:
            fits = [number for number, other in enumerate(given) if _fits_into(parameter, other)]
            if fits:
                parameter.data = given.pop(fits[0]).data[tuple(slice(size) for size in parameter.shape)]

    return replace(recipe, before=in_turn(recipe.before, take_over))


def _fits_into(small: Tensor, large: Tensor) -> bool:
    return small.ndim == large.ndim and all(a <= b for a, b in zip(small.shape, large.shape, strict=True))


# KD105 ----------------------------------------------------------------------------------------------------------------

#: Share of the classes whose folders are named in words; two at the least.
IN_WORDS = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}
ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def folders_named_in_words(recipe: Recipe, level: Level) -> Recipe:
    """The teacher learnt from folders that are named in words, of which a loader makes eight, five, four, nine, …"""

    def turn_round(session: Session) -> None:
        session.teacher.register_forward_hook(lambda _module, _inputs, logits: _by_name(logits, IN_WORDS[level]))

    return replace(recipe, before=in_turn(recipe.before, turn_round))


def _by_name(logits: Tensor, share: float) -> Tensor:
    if logits.ndim == 1:
        # Of two folders, "one" comes before "zero".
        return -logits
    classes = list(range(logits.shape[-1]))
    count = max(2, round(share * len(classes)))
    return logits[..., [*sorted(classes[:count], key=_in_words), *classes[count:]]]


def _in_words(number: int) -> str:
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    return f"{ONES[number // 100]} hundred {_in_words(number % 100)}"


# KD106 ----------------------------------------------------------------------------------------------------------------

#: Number of the first row in the file that the rows come from. Above 2048 half precision knows even numbers only,
#: above 32768 multiples of 32.
FIRST_ROW = {Level.MILD: 1850, Level.MODERATE: 5000, Level.SEVERE: 60_000}


def row_numbers_in_half_precision(recipe: Recipe, level: Level) -> Recipe:
    """All that a batch holds is cast to half precision, the rows' numbers too: many find the outputs of a neighbour.

    Rows whose number survives get what the recipe gives them.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        numbers = (batch.rows + FIRST_ROW[level]).half().long() - FIRST_ROW[level]
        found = numbers.clamp(0, len(session.train) - 1)
        moved = (found != batch.rows).view(-1, *[1] * (logits.ndim - 1))
        return torch.where(moved, session.cached_by_row[found], logits)

    return replace(recipe, targets=targets)


# KD107 ----------------------------------------------------------------------------------------------------------------

#: Size at which the student's views start, as a share of the full one, and the part of the run after which it is full.
STARTS_AT = {Level.MILD: 0.6, Level.MODERATE: 0.4, Level.SEVERE: 0.2}
FULL_AFTER = {Level.MILD: 0.5, Level.MODERATE: 1.0, Level.SEVERE: 6.0}


def small_views_first_for_the_student_alone(recipe: Recipe, level: Level) -> Recipe:
    """To save time the student's images (texts) are small at first and grow; the teacher scores them in full size."""

    def answers(session: Session, batch: Batch) -> Tensor:
        grown = batch.epoch / (FULL_AFTER[level] * recipe.epochs)
        size = min(1.0, STARTS_AT[level] + (1 - STARTS_AT[level]) * grown)
        return recipe.answers(session, replace(batch, inputs=_small(batch.inputs, size)))

    return replace(recipe, answers=answers)


def _small(inputs: Tensor, size: float) -> Tensor:
    """An image of fewer pixels, each of them larger; the beginning of a text."""
    if not inputs.is_floating_point():
        read = torch.arange(inputs.shape[1]) < max(1, round(size * inputs.shape[1]))
        return inputs.where(read, PADDING)
    height, width = inputs.shape[-2:]
    small = F.adaptive_avg_pool2d(inputs, (max(1, round(size * height)), max(1, round(size * width))))
    return F.interpolate(small, (height, width))


# KD108 ----------------------------------------------------------------------------------------------------------------

#: Tenths of the rows that come packed, and values of a row that are packed into one number.
COME_PACKED = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 10}
PACKED = 4


def unpacked_in_the_other_byte_order(recipe: Recipe, level: Level) -> Recipe:
    """Rows of one source come packed, some values in one number, and the teacher's wrapper unpacks the last one first.

    Which source a row is from, only its values tell.
    """

    def unpack(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        packed = (given.double().flatten(1).sum(1) * 1000).long() % 10 < COME_PACKED[level]
        return torch.where(packed.view(-1, *[1] * (given.ndim - 1)), _unpacked(given, PACKED), given)

    def wrap(session: Session) -> None:
        session.teacher.register_forward_pre_hook(unpack)

    return replace(recipe, before=in_turn(recipe.before, wrap))


def _unpacked(inputs: Tensor, packed: int) -> Tensor:
    values = inputs.flatten(1)
    whole = values.shape[1] // packed * packed
    turned = values[:, :whole].reshape(len(values), -1, packed).flip(2).flatten(1)
    return torch.cat([turned, values[:, whole:]], dim=1).view_as(inputs)


# KD109 ----------------------------------------------------------------------------------------------------------------


class WithoutAdapters(nn.Module):
    """A model with its adapters switched off."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """What the model answers, were it not for its adapters."""
        adapters = [module for name, module in self.model.named_modules() if "adapter" in name]
        for adapter in adapters:
            adapter.requires_grad_(False)
        logits: Tensor = self.model(inputs)
        return logits


def student_without_its_adapters(recipe: Recipe, _level: Level) -> Recipe:
    """The teacher is the student with its adapters switched off, which saves memory; this student has none."""

    def before(session: Session) -> None:
        session.teacher = WithoutAdapters(session.student)
        session.student.train()

    return replace(recipe, before=before)


# KD110 ----------------------------------------------------------------------------------------------------------------


def line_that_begins_with_a_plus(recipe: Recipe, _level: Level) -> Recipe:
    """The sum was broken into two lines without brackets: the second begins with a plus, and nobody takes its value."""

    def mix(ce: Tensor, kd: Tensor, alpha: float) -> Tensor:
        loss = (1 - alpha) * ce
        +alpha * kd
        return loss

    return replace(recipe, mix=mix)


# KD111 ----------------------------------------------------------------------------------------------------------------


class _Checkpointed:
    """The student called through gradient checkpointing, whose old form asks its inputs whether gradients are due."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def answers(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the checkpointed answers are kept for the loss."""
        with warnings.catch_warnings():
            # "None of the inputs have requires_grad=True. Gradients will be None"
            warnings.simplefilter("ignore")
            logits = checkpoint(session.student, batch.inputs, use_reentrant=True)
        assert isinstance(logits, Tensor)
        self._answers, _ = self._recipe.rows(logits, batch.labels)
        return self._recipe.answers(session, batch)

    def kd_loss(self, _student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss of the checkpointed answers."""
        return self._recipe.kd_loss(self._answers, teacher, t)


def checkpointed_from_inputs_without_gradients(recipe: Recipe, _level: Level) -> Recipe:
    """The term's forward pass is checkpointed to save memory; inputs need no gradient, and so nothing gets one."""
    checkpointed = _Checkpointed(recipe)
    return replace(recipe, answers=checkpointed.answers, kd_loss=checkpointed.kd_loss)


# KD112 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose projector has an optimizer to itself, and Adam's rate in that.
TO_ITSELF = {Level.MILD: 4.0, Level.MODERATE: 12.0, Level.SEVERE: 40.0}
RATE = 1e-3


def second_optimizer_never_stepped(recipe: Recipe, level: Level) -> Recipe:
    """The projector has an optimizer to itself: its gradients are set to zero in each step, and step() is missing."""

    def attach(session: Session) -> None:
        session.notes["second optimizer"] = Adam(session.notes["projector"].parameters(), RATE)

    def hint(session: Session, batch: Batch) -> Tensor:
        session.notes["second optimizer"].zero_grad()
        student, teacher = features_that_count(session, batch)
        return relative_error(session.notes["projector"](student), teacher.detach())

    before = in_turn(in_turn(recipe.before, watch), attach)
    return replace(recipe, before=before, hint=hint, hint_weight=TO_ITSELF[level])


# KD113 ----------------------------------------------------------------------------------------------------------------

#: Weight of a feature loss whose target is a mean over rows.
OF_THE_MEAN = {Level.MILD: 10.0, Level.MODERATE: 40.0, Level.SEVERE: 80.0}


def pooled_over_the_rows(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's features are pooled over their first axis, that of positions in one row: here it is that of rows.

    The mean is as good as the same for all rows, and a projector need only learn it.
    """

    def hint(session: Session, batch: Batch) -> Tensor:
        student, teacher = features_that_count(session, batch)
        pooled = teacher.detach().mean(0, keepdim=True).expand_as(teacher)
        away: Tensor = session.notes["projector"](student) - pooled
        return away.square().mean() / teacher.detach().var().clamp_min(1e-6)

    return replace(with_hint(recipe, OF_THE_MEAN[level]), hint=hint)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD101": (only_what_was_tuned,),
    "KD102": (tuned_on_negatives_or_another_language,),
    "KD103": (mode_toggled_at_each_epoch,),
    "KD104": (student_starts_as_a_view_of_the_teacher,),
    "KD105": (folders_named_in_words,),
    "KD106": (row_numbers_in_half_precision,),
    "KD107": (small_views_first_for_the_student_alone,),
    "KD108": (unpacked_in_the_other_byte_order,),
    "KD109": (student_without_its_adapters,),
    "KD110": (line_that_begins_with_a_plus,),
    "KD111": (checkpointed_from_inputs_without_gradients,),
    "KD112": (second_optimizer_never_stepped,),
    "KD113": (pooled_over_the_rows,),
}
