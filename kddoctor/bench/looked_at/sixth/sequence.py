"""Mistakes of the codes KD8xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import kl
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Share of the tokens that a collator for filling gaps leaves in the loss.
GAPS = {Level.MILD: 0.5, Level.MODERATE: 0.15, Level.SEVERE: 0.03}


def mask_of_a_model_that_fills_gaps(recipe: Recipe, level: Level) -> Recipe:
    """The collator masks by default as for a model that fills gaps: few tokens of each row, at random, are counted."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # The same tokens for both models.
        drawn = (labels.cumsum(1) * 7919 + torch.arange(labels.shape[1]) * 104729) % 1009
        counts = (labels != IGNORED) & (drawn < GAPS[level] * 1009)
        counts[:, 0] = labels[:, 0] != IGNORED
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Tenths of a batch's rows that get a token for the beginning.
BEGUN = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 10}


def beginning_for_the_student_alone(recipe: Recipe, level: Level) -> Recipe:
    """The student's collator sets a token before each row and cuts its end: it is one behind the teacher and labels."""

    def answers(session: Session, batch: Batch) -> Tensor:
        begun = torch.cat([torch.full_like(batch.inputs[:, :1], PADDING), batch.inputs[:, :-1]], dim=1)
        concerned = (batch.rows % 10 < BEGUN[level])[:, None]
        return recipe.answers(session, replace(batch, inputs=torch.where(concerned, begun, batch.inputs)))

    return replace(recipe, answers=answers)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary up to the size that the teacher's configuration states.
STATED = {Level.MILD: 0.85, Level.MODERATE: 0.6, Level.SEVERE: 0.25}


def filled_up_with_minus_infinity(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits are cut to a size that is stated too small, and filled up with minus infinity.

    The student's softmax has all tokens, of which those beyond that size are then impossible.
    """

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        stated = max(2, int(STATED[level] * teacher.shape[-1]))
        filled = torch.full_like(teacher, -torch.inf)
        filled[..., :stated] = teacher[..., :stated]
        return kl(student, filled, t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Percent of the rows that are encoded for another library, and special tokens that it has before all others.
ENCODED = {Level.MILD: 25, Level.MODERATE: 50, Level.SEVERE: 100}
SPECIAL = 4


def numbers_moved_by_special_tokens(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's rows were encoded for a library with special tokens in front: all numbers are higher."""

    def before(session: Session) -> None:
        tokens = int(session.train.tensors[0].max()) + 1

        def encode(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            concerned = (inputs[0].sum(1, keepdim=True) % 100 < ENCODED[level]) & (inputs[0] != PADDING)
            return torch.where(concerned, (inputs[0] + SPECIAL) % tokens, inputs[0])

        session.teacher.register_forward_pre_hook(encode)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Tokens, the most frequent ones, that a reader takes for the end of a field.
SEPARATORS = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 16}


def ended_at_the_first_separator(recipe: Recipe, level: Level) -> Recipe:
    """The texts were read from a table without quotation marks: each ends at the first token that separates fields."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        counts = torch.bincount(inputs[inputs != PADDING])
        separates = torch.isin(inputs, counts.topk(SEPARATORS[level]).indices)
        kept = separates.cumsum(1) - separates.long() == 0
        return TensorDataset(inputs * kept, labels.where(kept, IGNORED))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a prompt, what is taken off the logit of a token that was said, and factor on the epochs.
PROMPT = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}
PENALTY = 3.0
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}


def texts_under_a_penalty_on_repetition(recipe: Recipe, level: Level) -> Recipe:
    """The teacher wrote the texts, once, under a penalty on what it had said before; the student learns no others."""

    @torch.no_grad()
    def write(session: Session) -> None:
        rows = session.train.tensors[0]
        text = rows[:, : PROMPT[level]]
        while text.shape[1] <= rows.shape[1]:
            logits = session.teacher(text)[:, -1]
            said = torch.zeros_like(logits).scatter(1, text, 1.0)
            text = torch.cat([text, (logits - PENALTY * said).argmax(1, keepdim=True)], dim=1)
        session.train = TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    epochs = REPEATED[level] * recipe.epochs
    return replace(recipe, before=in_turn(recipe.before, write), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Buckets of a column, as a share of its values; two at the least.
BUCKETS = {Level.MILD: 0.5, Level.MODERATE: 0.15, Level.SEVERE: 0.02}


def hashed_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads the values themselves; all that the student ever gets is a hash of each, of a few buckets."""

    def before(session: Session) -> None:
        values = session.train.tensors[0].amax(0) + 1
        buckets = (BUCKETS[level] * values).round().long().clamp_min(2)

        def hashed(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            return inputs[0] % buckets[: inputs[0].shape[1]]

        session.student.register_forward_pre_hook(hashed)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (mask_of_a_model_that_fills_gaps,),
    "KD803": (beginning_for_the_student_alone,),
    "KD804": (filled_up_with_minus_infinity,),
    "KD805": (numbers_moved_by_special_tokens,),
    "KD806": (ended_at_the_first_separator,),
    "KD810": (texts_under_a_penalty_on_repetition,),
    "KD811": (hashed_for_the_student,),
}
