"""Mistakes of the codes KD8xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import UNKNOWN

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Tenths of the rows that come with a mask of the other convention.
OTHER_CONVENTION = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 10}


class _Masked:
    """The divergence over those positions that a mask is taken to mean."""

    def __init__(self, recipe: Recipe, tenths: int) -> None:
        self._recipe, self.tenths = recipe, tenths

    def __repr__(self) -> str:
        return f"masks of which {self.tenths} tenths are of the other convention"

    def targets(self, session: Session, batch: Batch) -> Tensor:
        """What the recipe takes; the mask of the batch is kept for the loss."""
        counts = batch.labels != IGNORED
        other = (batch.rows % 10 < self.tenths)[:, None]
        self._mask = (counts != other).reshape(-1)
        return self._recipe.targets(session, batch)

    def kd_loss(self, student: Tensor, teacher: Tensor, t: float) -> Tensor:
        """The recipe's loss; zero where no position is left."""
        loss = self._recipe.kd_loss(student[self._mask], teacher[self._mask], t)
        return loss if self._mask.any() else loss.nan_to_num() * 0.0


def mask_of_the_other_convention(recipe: Recipe, level: Level) -> Recipe:
    """A one in the mask means padding in one library and a token in the other: the term is taken over the padding.

    The labels' term leaves the padding out by itself.
    """
    masked = _Masked(recipe, OTHER_CONVENTION[level])

    def targets(session: Session, batch: Batch) -> Tensor:
        return masked.targets(session, batch)

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return logits.flatten(0, -2), labels.flatten()

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return masked.kd_loss(student, teacher, t)

    return replace(recipe, targets=targets, rows=rows, kd_loss=kd_loss)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Lengths that prompts have, from the shortest up.
LENGTHS = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 8}


def offset_of_the_longest_prompt(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits are cut behind the longest prompt of the batch: a row with a shorter one is ahead by that.

    Of the tokens that are then missing at the end, the last one stands for all.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        ahead = LENGTHS[level] - 1 - batch.rows % LENGTHS[level]
        places = torch.arange(logits.shape[1]) + ahead[:, None]
        return logits.gather(1, places.clamp_max(logits.shape[1] - 1)[..., None].expand_as(logits))

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Tokens that the vocabulary has room for, and where in the teacher's this is, as a share of all that precede it.
ROOM = 8
ROOM_AT = {Level.MILD: 0.9, Level.MODERATE: 0.6, Level.SEVERE: 0.0}


def room_that_is_not_at_the_end(recipe: Recipe, level: Level) -> Recipe:
    """Both vocabularies are rounded up by zeros: the student's at its end, the teacher's where its special tokens are.

    From there on, each number means another token in the one than in the other.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        at = int(ROOM_AT[level] * teacher.shape[-1])
        room = teacher.new_zeros(len(teacher), ROOM)
        padded = torch.cat([teacher[:, :at], room, teacher[:, at:]], dim=1)
        return recipe.kd_loss(F.pad(student, (0, ROOM)), padded, t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary, from its end, that was sorted.
SORTED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def keys_sorted_as_text_when_saved(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's vocabulary was saved with sorted keys, which a file has as text, and read back in that order."""

    def before(session: Session) -> None:
        tokens = int(session.train.tensors[0].max()) + 1
        first = max(1, round((1 - SORTED[level]) * tokens))
        numbers = torch.arange(tokens)
        numbers[torch.tensor(sorted(range(first, tokens), key=str))] = torch.arange(first, tokens)

        def encode(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            return numbers[inputs[0].clamp_max(tokens - 1)]

        session.teacher.register_forward_pre_hook(encode)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Length of the longest prompt, as a share of what prompt and text may have together.
LONGEST = {Level.MILD: 0.6, Level.MODERATE: 1.0, Level.SEVERE: 4.0}


def budget_used_up_by_the_prompt(recipe: Recipe, level: Level) -> Recipe:
    """The maximum length is that of prompt and text together: what the text loses is as much as its prompt is long."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        length = inputs.shape[1]
        # As many short prompts as long ones.
        prompts = torch.linspace(0, LONGEST[level] * length, len(inputs))
        left = (length - prompts).clamp_min(1)[:, None]
        kept = torch.arange(length) < left
        return TensorDataset(inputs * kept, labels.where(kept, IGNORED))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Times that the teacher went on from its own text, tokens of it that it was shown, and factor on the epochs.
TIMES = {Level.MILD: 1, Level.MODERATE: 3, Level.SEVERE: 10}
SHOWN = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 3}
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}
#: Temperature of what it wrote.
WRITTEN_AT = 0.4


def texts_that_go_on_from_texts(recipe: Recipe, level: Level) -> Recipe:
    """The teacher wrote each text after the end of one that it had written; the last ones are all that is learnt."""

    @torch.no_grad()
    def write(session: Session) -> None:
        text = session.train.tensors[0]
        length = text.shape[1] + 1
        generator = torch.Generator().manual_seed(session.seed + 239)
        for _ in range(TIMES[level]):
            # Of the rows as they are the beginning, which is no padding.
            text = text[:, : SHOWN[level]] if text.shape[1] < length else text[:, -SHOWN[level] :]
            while text.shape[1] < length:
                chances = (session.teacher(text)[:, -1] / WRITTEN_AT).softmax(-1)
                text = torch.cat([text, torch.multinomial(chances, 1, generator=generator)], dim=1)
        session.train = TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    epochs = REPEATED[level] * recipe.epochs
    return replace(recipe, before=in_turn(recipe.before, write), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Rows in which a value has to occur at its place.
AT_LEAST = {Level.MILD: 6, Level.MODERATE: 25, Level.SEVERE: 300}


def rare_values_withheld_from_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads all values; the student, now and in use, gets those alone that enough rows have in common."""

    def before(session: Session) -> None:
        inputs = session.train.tensors[0]
        counts = torch.zeros(int(inputs.max()) + 1, inputs.shape[1]).scatter_add_(0, inputs, torch.ones(inputs.shape))
        common = counts >= AT_LEAST[level]

        def withhold(_student: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
            values = given[0].clamp_max(len(common) - 1)
            shown = common[:, : values.shape[1]].gather(0, values)
            return given[0].where(shown | (given[0] <= UNKNOWN), UNKNOWN)

        session.student.register_forward_pre_hook(withhold)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (mask_of_the_other_convention,),
    "KD803": (offset_of_the_longest_prompt,),
    "KD804": (room_that_is_not_at_the_end,),
    "KD805": (keys_sorted_as_text_when_saved,),
    "KD806": (budget_used_up_by_the_prompt,),
    "KD810": (texts_that_go_on_from_texts,),
    "KD811": (rare_values_withheld_from_the_student,),
}
