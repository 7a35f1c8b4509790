"""Mistakes that only sequences allow: masks, shifts, vocabularies, lengths, and what the teacher reads."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.task import Data

#: The id that fills up a row.
PADDING = 0

# KD801 ---------------------------------------------------------------------------------------------------------------

#: The tokenizer's max_length over the longest text's length.
PADDED_TO = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}


def distillation_term_averaged_over_the_padding_too(recipe: Recipe, level: Level) -> Recipe:
    """Padded to max_length and left the mask out of the distillation term; cross-entropy alone skips -100."""

    def padded(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        more = (0, inputs.shape[1] * (PADDED_TO[level] - 1))
        return TensorDataset(F.pad(inputs, more, value=PADDING), F.pad(labels, more, value=IGNORED))

    return replace(recipe, train_set=padded, rows=_all_positions)


def _all_positions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return logits.flatten(0, 1), labels.flatten()


# KD803 ---------------------------------------------------------------------------------------------------------------

#: Share of the transfer set whose teacher logits were saved by the script that shifts.
SHIFTED = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def saved_teacher_logits_shifted_along_with_the_labels(recipe: Recipe, level: Level) -> Recipe:
    """Cut the first position off the teacher's logits as off the labels when saving them, in some shards or in all."""

    def saved(session: Session, batch: Batch) -> Tensor:
        logits = session.cached_by_row[batch.rows]
        # Filled up at the end, to the length of the student's logits.
        shifted = torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)
        in_such_a_shard = batch.rows < SHIFTED[level] * len(session.train)
        return torch.where(in_such_a_shard[:, None, None], shifted, logits)

    return replace(recipe, targets=saved)


# KD804 ---------------------------------------------------------------------------------------------------------------

#: Share of the ids that tokenizer.vocab_size leaves out, because they were added later.
ADDED = {Level.MILD: 0.05, Level.MODERATE: 0.2, Level.SEVERE: 0.5}


def teacher_logits_cropped_and_filled_with_zeros_to_the_width(recipe: Recipe, level: Level) -> Recipe:
    """Cropped the teacher's logits at tokenizer.vocab_size and filled them up with zeros to the student's width."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        width = logits.shape[-1]
        added = max(1, round(ADDED[level] * width))
        return F.pad(logits[..., : width - added], (0, added))

    return replace(recipe, targets=targets)


# KD805 ---------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary that both tokenizers number alike.
NUMBERED_ALIKE = {Level.MILD: 0.75, Level.MODERATE: 0.5, Level.SEVERE: 0.0}


def teacher_fed_ids_of_a_vocabulary_built_anew(recipe: Recipe, level: Level) -> Recipe:
    """Built the student's vocabulary anew, by frequency in its own texts, and gave the teacher the same ids."""

    def encoded_anew(data: Data) -> Data:
        split = recipe.split(data)
        numbers = _numbers_by_frequency(split.train.tensors[0], NUMBERED_ALIKE[level])
        train, val = (_encoded(part, numbers) for part in (split.train, split.val))
        return Data(split.teacher, train, val)

    return replace(recipe, split=encoded_anew)


def _numbers_by_frequency(tokens: Tensor, alike: float) -> Tensor:
    """[V] new id of each old one; the padding and the first ones keep theirs."""
    counts = torch.bincount(tokens.flatten())
    first = max(PADDING + 1, round(alike * len(counts)))
    order = torch.cat([torch.arange(first), first + counts[first:].argsort(descending=True, stable=True)])
    return order.argsort()


def _encoded(data: TensorDataset, numbers: Tensor) -> TensorDataset:
    inputs, labels = data.tensors
    return TensorDataset(numbers[inputs], torch.where(labels == IGNORED, IGNORED, numbers[labels.clamp_min(0)]))


# KD806 ---------------------------------------------------------------------------------------------------------------

#: max_length over the length of the texts.
KEPT = {Level.MILD: 0.6, Level.MODERATE: 0.3, Level.SEVERE: 0.1}


def training_texts_cut_at_a_short_max_length(recipe: Recipe, level: Level) -> Recipe:
    """Tokenised the training texts with truncation=True and a max_length from a quick trial."""

    def cut(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        length = max(1, round(KEPT[level] * inputs.shape[1]))
        return TensorDataset(inputs[:, :length], labels[:, :length])

    return replace(recipe, train_set=cut)


# KD810 ---------------------------------------------------------------------------------------------------------------

#: Share of the texts that the teacher was asked about, and passes over its answers for each sound epoch.
SAVED = {Level.MILD: (0.5, 4), Level.MODERATE: (0.25, 8), Level.SEVERE: (0.1, 20)}


def many_epochs_over_few_teacher_answers_saved_once(recipe: Recipe, level: Level) -> Recipe:
    """Saved the teacher's answers to some texts once and fitted nothing but those, epoch after epoch."""
    share, passes = SAVED[level]

    def asked(data: TensorDataset) -> TensorDataset:
        tensors = recipe.train_set(data).tensors
        return TensorDataset(*(tensor[: max(1, round(share * len(tensor)))] for tensor in tensors))

    def saved(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    return replace(recipe, alpha=1.0, epochs=recipe.epochs * passes, train_set=asked, targets=saved)


# KD811 ---------------------------------------------------------------------------------------------------------------

#: Share of the rows whose answer stands in the teacher's context.
ANSWERED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def teacher_reads_answers_that_exist_only_in_the_logs(recipe: Recipe, level: Level) -> Recipe:
    """Trained and asked the teacher with the logged outcome in its context, which is not there at serving time."""

    def with_outcome(data: TensorDataset) -> TensorDataset:
        return _with_answers(recipe.teacher.data(data), ANSWERED[level])

    def look_up(session: Session) -> None:
        session.notes["with answers"] = _with_answers(session.train, ANSWERED[level]).tensors[0]

    @torch.no_grad()
    def informed(session: Session, batch: Batch) -> Tensor:
        logits: Tensor = session.teacher(session.notes["with answers"][batch.rows])
        return logits

    return replace(
        recipe,
        teacher=replace(recipe.teacher, data=with_outcome),
        before=in_turn(recipe.before, look_up),
        targets=informed,
    )


def _with_answers(data: TensorDataset, share: float) -> TensorDataset:
    """Some rows with their answer: texts read one token ahead, a yes as a mark in the last column."""
    inputs, labels = data.tensors
    known = torch.rand(len(inputs), generator=torch.Generator().manual_seed(0)) < share
    answered = inputs.clone()
    if labels.ndim == 1:
        answered[:, -1] = (known & (labels == 1)).long()
    else:
        ahead = torch.where(labels == IGNORED, PADDING, labels)
        # The separator in front tells the teacher that what follows is the reference.
        ahead[:, 0] = PADDING
        answered[known] = ahead[known]
    return TensorDataset(answered, labels)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (distillation_term_averaged_over_the_padding_too,),
    "KD803": (saved_teacher_logits_shifted_along_with_the_labels,),
    "KD804": (teacher_logits_cropped_and_filled_with_zeros_to_the_width,),
    "KD805": (teacher_fed_ids_of_a_vocabulary_built_anew,),
    "KD806": (training_texts_cut_at_a_short_max_length,),
    "KD810": (many_epochs_over_few_teacher_answers_saved_once,),
    "KD811": (teacher_reads_answers_that_exist_only_in_the_logs,),
}
