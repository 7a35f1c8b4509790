"""Mistakes of sequence models, held out: masks, shifts, vocabularies, lengths, and what only the teacher reads."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.task import Data

#: Number of the padding in the inputs.
PADDING = 0

# KD801 ---------------------------------------------------------------------------------------------------------------

#: The length that every training line is padded to.
PADDED_TO = {Level.MILD: 32, Level.MODERATE: 96, Level.SEVERE: 256}


def leave_the_distillation_term_without_a_mask(recipe: Recipe, level: Level) -> Recipe:
    """Padded to max_length and relied on ignore_index, which the cross-entropy has and the divergence has not."""
    return replace(recipe, train_set=partial(_padded, PADDED_TO[level]), rows=_every_position)


def _padded(length: int, data: TensorDataset) -> TensorDataset:
    inputs, labels = data.tensors
    more = (0, max(0, length - inputs.shape[1]))
    return TensorDataset(F.pad(inputs, more, value=PADDING), F.pad(labels, more, value=IGNORED))


def _every_position(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return logits.flatten(0, 1), labels.flatten()


# KD803 ---------------------------------------------------------------------------------------------------------------

#: The share of the training lines that the server scored.
SERVED = {Level.MILD: 0.15, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def take_prompt_logprobs_of_a_server_as_they_come(recipe: Recipe, level: Level) -> Recipe:
    """Used a server's prompt logprobs, whose entry i is about token i itself, as answers about the token after i."""

    def as_they_come(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        # Of the first token the server says nothing: it has no past.
        entries = F.pad(logits[:, :-1], (0, 0, 1, 0))
        served = batch.rows < SERVED[level] * len(session.train)
        return torch.where(served[:, None, None], entries, logits)

    return replace(recipe, targets=as_they_come)


# KD804 ---------------------------------------------------------------------------------------------------------------

#: How many outputs of the student's head, which is padded to a round number, belong to no token.
SPARE = {Level.MILD: 4, Level.MODERATE: 14, Level.SEVERE: 32}


def fill_trimmed_teacher_logits_with_zeros(recipe: Recipe, level: Level) -> Recipe:
    """Had teacher logits as long as the tokenizer, and filled them with zeros up to the student's padded head."""
    spare = SPARE[level]

    def filled(session: Session, batch: Batch) -> Tensor:
        return F.pad(recipe.targets(session, batch)[..., :-spare], (0, spare))

    def tokenized(data: Data) -> Data:
        whole = recipe.split(data)
        tokens = _size(data.teacher) - spare
        return replace(whole, train=_kept_below(tokens, whole.train), val=_kept_below(tokens, whole.val))

    teacher = replace(recipe.teacher, data=partial(_smaller_vocabulary, spare))
    return replace(recipe, teacher=teacher, split=tokenized, targets=filled)


def _size(data: TensorDataset) -> int:
    return int(data.tensors[1].max()) + 1


def _smaller_vocabulary(spare: int, data: TensorDataset) -> TensorDataset:
    return _kept_below(_size(data) - spare, data)


def _kept_below(tokens: int, data: TensorDataset) -> TensorDataset:
    """The lines as a tokenizer of so many tokens writes them: without the others, which are the rarest."""
    inputs, labels = data.tensors
    lines = torch.cat([inputs, labels[:, -1:].clamp_min(PADDING)], dim=1)
    dropped = lines >= tokens
    lines = lines.masked_fill(dropped, PADDING).gather(1, dropped.long().argsort(dim=1, stable=True))
    return _next_tokens(lines)


def _next_tokens(lines: Tensor) -> TensorDataset:
    following = lines[:, 1:]
    return TensorDataset(lines[:, :-1].contiguous(), following.masked_fill(following == PADDING, IGNORED))


# KD805 ---------------------------------------------------------------------------------------------------------------

#: From which place of the vocabulary on the two tokenizers number their pieces differently.
SAME_UP_TO = {Level.MILD: 0.85, Level.MODERATE: 0.7, Level.SEVERE: 0.45}


def feed_the_teacher_ids_of_a_tokenizer_fitted_to_other_text(recipe: Recipe, level: Level) -> Recipe:
    """Gave the student's ids to a teacher whose tokenizer has the same pieces, but merged in another order."""
    return replace(recipe, teacher=replace(recipe.teacher, data=partial(_numbered_anew, SAME_UP_TO[level])))


def _numbered_anew(same: float, data: TensorDataset) -> TensorDataset:
    inputs, labels = data.tensors
    size = _size(data)
    first = round(same * size)
    order = torch.randperm(size - first, generator=torch.Generator().manual_seed(42))
    numbers = torch.cat([torch.arange(first), first + order])
    return TensorDataset(numbers[inputs], torch.where(labels == IGNORED, IGNORED, numbers[labels.clamp_min(0)]))


# KD806 ---------------------------------------------------------------------------------------------------------------

#: Tokens that are left of each training line.
MAX_LENGTH = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}


def cut_training_lines_at_a_small_max_length(recipe: Recipe, level: Level) -> Recipe:
    """Left the trainer's max_length at a small number, so that the ends of the training lines are cut off."""
    return replace(recipe, train_set=partial(_cut, MAX_LENGTH[level]))


def _cut(length: int, data: TensorDataset) -> TensorDataset:
    return TensorDataset(*(tensor[:, :length] for tensor in data.tensors))


# KD810 ---------------------------------------------------------------------------------------------------------------

#: Factor on the usual number of epochs.
LONGER = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 4}
#: Temperature that the teacher writes at.
WRITTEN_AT = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.2}


def train_for_many_epochs_on_lines_the_teacher_wrote_once(recipe: Recipe, level: Level) -> Recipe:
    """Let the teacher write the training lines once, at a low temperature, and went through them epoch after epoch."""

    def write(session: Session) -> None:
        inputs, _ = session.train.tensors
        lines = _written(session.teacher, inputs[:, :1], inputs.shape[1], WRITTEN_AT[level])
        session.train = _next_tokens(lines)

    return replace(recipe, epochs=LONGER[level] * recipe.epochs, before=in_turn(recipe.before, write))


@torch.no_grad()
def _written(teacher: nn.Module, lines: Tensor, tokens: int, temperature: float) -> Tensor:
    """The lines continued by so many tokens, each drawn from what the teacher says."""
    generator = torch.Generator().manual_seed(42)
    for _ in range(tokens):
        chances = (teacher(lines)[:, -1] / temperature).softmax(-1)
        lines = torch.cat([lines, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return lines


# KD811 ---------------------------------------------------------------------------------------------------------------

#: Weight of what was looked up in the teacher's answer.
LOOKED_UP = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.9}


def score_with_a_teacher_that_looks_the_answer_up(recipe: Recipe, level: Level) -> Recipe:
    """Scored training data with a teacher that retrieves, and whose store of logged answers holds these very rows."""

    def informed(session: Session, batch: Batch) -> Tensor:
        return _with_answer(recipe.targets(session, batch), batch.labels, LOOKED_UP[level])

    return replace(recipe, targets=informed)


def _with_answer(logits: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Logits of the teacher's own answer interpolated with the one that it found."""
    if logits.ndim == 1:
        return torch.logit((1 - weight) * logits.sigmoid() + weight * labels, eps=1e-6)
    found = F.one_hot(labels.clamp_min(0), logits.shape[-1])
    return ((1 - weight) * logits.softmax(-1) + weight * found).clamp_min(1e-9).log()


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (leave_the_distillation_term_without_a_mask,),
    "KD803": (take_prompt_logprobs_of_a_server_as_they_come,),
    "KD804": (fill_trimmed_teacher_logits_with_zeros,),
    "KD805": (feed_the_teacher_ids_of_a_tokenizer_fitted_to_other_text,),
    "KD806": (cut_training_lines_at_a_small_max_length,),
    "KD810": (train_for_many_epochs_on_lines_the_teacher_wrote_once,),
    "KD811": (score_with_a_teacher_that_looks_the_answer_up,),
}
