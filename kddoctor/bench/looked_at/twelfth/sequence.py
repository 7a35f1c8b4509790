"""Mistakes of those who distil language models: masks, shifts, vocabularies, lengths and what the teacher reads."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD801 ----------------------------------------------------------------------------------------------------------------


def padding_to_max_length_enters_the_kd_term(recipe: Recipe, level: Level) -> Recipe:
    """Pads every row to max_length, and averages the distillation term over all positions: only CE ignores -100."""
    length = {Level.MILD: 36, Level.MODERATE: 80, Level.SEVERE: 200}[level]

    def padded(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        more = max(0, length - inputs.shape[1])
        return TensorDataset(pad(inputs, (0, more)), pad(labels, (0, more), value=IGNORED))

    return replace(recipe, train_set=padded, rows=_every_position)


def _every_position(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)


# KD803 ----------------------------------------------------------------------------------------------------------------


def cached_teacher_shards_shifted_twice(recipe: Recipe, level: Level) -> Recipe:
    """Reads shards of teacher logits written by a script that had shifted them already, and shifts them once more."""
    share = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        # Only the shards written after the script was changed.
        shifted = batch.rows < share * len(session.train)
        return torch.where(shifted[:, None, None], _one_on(logits), logits)

    return replace(recipe, targets=targets)


def _one_on(logits: Tensor) -> Tensor:
    return torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)


# KD804 ----------------------------------------------------------------------------------------------------------------


def both_logits_filled_up_with_zeros_to_padded_vocabulary(recipe: Recipe, level: Level) -> Recipe:
    """Brings both models' logits to the padded vocabulary size of the larger config, with zeros, before softmax."""
    extra = {Level.MILD: 64, Level.MODERATE: 448, Level.SEVERE: 1984}[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return recipe.kd_loss(pad(student, (0, extra)), pad(teacher, (0, extra)), temperature)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------


def teacher_vocabulary_with_one_more_special_token(recipe: Recipe, level: Level) -> Recipe:
    """Feeds its ids to a teacher whose vocabulary has one more special token, which moves the ids after it."""
    # Where the token stands, as a share of the vocabulary.
    place = {Level.MILD: 0.8, Level.MODERATE: 0.45, Level.SEVERE: 0.0}[level]

    def encoded(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.teacher.data(data).tensors
        last = int(max(inputs.max(), labels.max()))
        special = max(1, round(place * last))
        return TensorDataset(_moved(inputs, special, last), _moved(labels, special, last))

    return replace(recipe, teacher=replace(recipe.teacher, data=encoded))


def _moved(tokens: Tensor, special: int, last: int) -> Tensor:
    # The rarest piece no longer fits into the vocabulary, and is read as the special token: unknown.
    moved = torch.where(tokens >= special, tokens + 1, tokens)
    return moved.where(moved <= last, special)


# KD806 ----------------------------------------------------------------------------------------------------------------


def training_rows_cut_at_a_short_max_length(recipe: Recipe, level: Level) -> Recipe:
    """Leaves max_length at a value far below the length of the texts, and the tokenizer cuts their ends off."""
    share = {Level.MILD: 0.5, Level.MODERATE: 0.3, Level.SEVERE: 0.15}[level]

    def truncated(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        length = max(1, round(share * inputs.shape[1]))
        return TensorDataset(inputs[:, :length].contiguous(), labels[:, :length].contiguous())

    return replace(recipe, train_set=truncated)


# KD810 ----------------------------------------------------------------------------------------------------------------


def many_epochs_on_few_texts_the_teacher_wrote_once(recipe: Recipe, level: Level) -> Recipe:
    """Has the teacher continue the first token of each text once, and trains on these texts for many epochs."""
    # One text in so many is written, and is seen as many times as often.
    fewer = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 10}[level]
    write = partial(_write_once, fewer)
    return replace(recipe, epochs=recipe.epochs * fewer, before=in_turn(recipe.before, write))


def _write_once(fewer: int, session: Session) -> None:
    inputs, labels = (tensor[: max(1, len(tensor) // fewer)] for tensor in session.train.tensors)
    generator = torch.Generator().manual_seed(session.seed)
    written = _continued(session.teacher, inputs[:, :1], inputs.shape[1], generator)
    session.train = TensorDataset(written[:, :-1].contiguous(), written[:, 1:].where(labels != IGNORED, IGNORED))


@torch.no_grad()
def _continued(teacher: nn.Module, texts: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """[N, length + 1]: the texts with tokens that are sampled one after another."""
    for _ in range(length):
        chances = teacher(texts)[:, -1].softmax(-1)
        texts = torch.cat([texts, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return texts


# KD811 ----------------------------------------------------------------------------------------------------------------


def retrieval_shows_the_teacher_its_own_answers(recipe: Recipe, level: Level) -> Recipe:
    """Lets the teacher mix in what its retrieval finds, in an index that holds the very rows it is asked about."""
    weight = {Level.MILD: 0.5, Level.MODERATE: 0.8, Level.SEVERE: 0.98}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        inputs, labels = session.train.tensors
        nearest = torch.cdist(batch.inputs.float(), inputs.float()).argmin(1)
        found = labels[nearest].clamp_min(0)
        if logits.ndim == 1:
            return torch.logit(_mixed(logits.sigmoid(), found.float(), weight))
        return _mixed(logits.softmax(-1), one_hot(found, logits.shape[-1]).float(), weight).log()

    return replace(recipe, targets=targets)


def _mixed(own: Tensor, found: Tensor, weight: float) -> Tensor:
    return ((1 - weight) * own + weight * found).clamp(1e-6, 1 - 1e-6)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (padding_to_max_length_enters_the_kd_term,),
    "KD803": (cached_teacher_shards_shifted_twice,),
    "KD804": (both_logits_filled_up_with_zeros_to_padded_vocabulary,),
    "KD805": (teacher_vocabulary_with_one_more_special_token,),
    "KD806": (training_rows_cut_at_a_short_max_length,),
    "KD810": (many_epochs_on_few_texts_the_teacher_wrote_once,),
    "KD811": (retrieval_shows_the_teacher_its_own_answers,),
}
