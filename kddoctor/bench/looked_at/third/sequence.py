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

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a prefix, as a share of the row.
PREFIX = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 0.92}


def mask_late_by_a_prefix(recipe: Recipe, level: Level) -> Recipe:
    """The mask was made for rows with a prefix that has gone: it leaves out their beginnings and counts padding."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        prefix = round(PREFIX[level] * labels.shape[1])
        counts = F.pad(labels[:, :-prefix] != IGNORED, (prefix, 0))
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that the teacher's collator pads at their beginnings.
LEFT_PADDED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def left_padded_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's rows are padded on the left and the student's on the right, and no shift undoes it."""

    def targets(session: Session, batch: Batch) -> Tensor:
        length = batch.inputs.shape[1]
        concerned = batch.rows % 10 < 10 * LEFT_PADDED[level]
        # A line is padded while it still has the last token, which is only a label.
        padding = (batch.labels == IGNORED).sum(1) * concerned
        source = torch.arange(length) - padding[:, None]
        padded = batch.inputs.gather(1, source.clamp_min(0)).where(source >= 0, 0)
        return recipe.targets(session, replace(batch, inputs=padded))

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: How much longer the teacher's padded vocabulary is.
MORE = {Level.MILD: 0.03, Level.MODERATE: 0.1, Level.SEVERE: 0.5}


def resized_like_an_image(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits, padded to a longer vocabulary, are brought to the student's length by interpolation."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        size = student.shape[-1]
        padded = F.pad(teacher, (0, max(1, round(MORE[level] * size))), value=float(teacher.min()))
        resized = F.interpolate(padded[:, None], size, mode="linear", align_corners=False)[:, 0]
        return recipe.kd_loss(student, resized, t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Tokens of the teacher's text after which its template has a special one.
AFTER_EVERY = {Level.MILD: 6, Level.MODERATE: 3, Level.SEVERE: 1}


def special_tokens_between_the_others(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's template sets a special token after every few others, which it never saw in its training."""

    def before(session: Session) -> None:
        special = int(session.train.tensors[0].max())
        every = AFTER_EVERY[level]

        def insert(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            length = inputs[0].shape[1]
            places = _places(length, every)
            text = torch.full((len(inputs[0]), int(places[-1]) + 1), special)
            text[:, places] = inputs[0]
            return text

        def take_out(_teacher: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            # A hook is given what the pre-hook made of the inputs.
            length = inputs[0].shape[1]
            at = torch.arange(length)
            return output[:, at[at % (every + 1) != every]]

        session.teacher.register_forward_pre_hook(insert)
        session.teacher.register_forward_hook(take_out)

    return replace(recipe, before=in_turn(recipe.before, before))


def _places(length: int, every: int) -> Tensor:
    """Where the tokens of a text come to lie."""
    at = torch.arange(length)
    return at + at // every


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Share of a row that a window shows.
WINDOW = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.05}


def one_window_of_each_row(recipe: Recipe, level: Level) -> Recipe:
    """Rows beyond a small maximum are cut to a window that begins anywhere: what is before and after it is gone."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        count, length = whole.tensors[0].shape
        limit = max(1, round(WINDOW[level] * length))
        generator = torch.Generator().manual_seed(131)
        first = torch.randint(length - limit + 1, (count, 1), generator=generator)
        shown = first + torch.arange(limit)
        return TensorDataset(*(tensor.gather(1, shown) for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Factor on the epochs, and share of the prompts that were answered.
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}
ANSWERED = {Level.MILD: 1.0, Level.MODERATE: 0.5, Level.SEVERE: 0.12}
#: Tokens of a prompt, and temperature of the writing.
PROMPT, TEMPERATURE = 3, 0.7


def texts_that_the_teacher_wrote_once(recipe: Recipe, level: Level) -> Recipe:
    """The teacher went on from the first tokens of some rows; its texts are all that the student learns, for long."""

    @torch.no_grad()
    def write(session: Session) -> None:
        rows = session.train.tensors[0][: max(2, int(ANSWERED[level] * len(session.train)))]
        generator = torch.Generator().manual_seed(session.seed)
        text = rows[:, :PROMPT]
        while text.shape[1] <= rows.shape[1]:
            said = (session.teacher(text)[:, -1] / TEMPERATURE).softmax(-1)
            text = torch.cat([text, torch.multinomial(said, 1, generator=generator)], dim=1)
        session.train = TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    epochs = round(REPEATED[level] * recipe.epochs / ANSWERED[level])
    return replace(recipe, before=in_turn(recipe.before, write), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Share of a row, from its end, in which every second place is somebody else's.
TWO_SIDED = {Level.MILD: 0.4, Level.MODERATE: 0.7, Level.SEVERE: 1.0}


def one_side_of_the_conversation(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads both sides in turn; the student, now and in use, has the log of one side, with gaps."""

    def without_the_other(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        at = torch.arange(inputs[0].shape[1])
        theirs = (at % 2 == 1) & (at >= (1 - TWO_SIDED[level]) * len(at))
        return inputs[0] * ~theirs

    def before(session: Session) -> None:
        session.student.register_forward_pre_hook(without_the_other)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (mask_late_by_a_prefix,),
    "KD803": (left_padded_for_the_teacher,),
    "KD804": (resized_like_an_image,),
    "KD805": (special_tokens_between_the_others,),
    "KD806": (one_window_of_each_row,),
    "KD810": (texts_that_the_teacher_wrote_once,),
    "KD811": (one_side_of_the_conversation,),
}
