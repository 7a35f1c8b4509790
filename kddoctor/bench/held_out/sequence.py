"""Mistakes with sequences of tokens, and with what a teacher reads beside them."""

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

# KD801 ----


def key_padding_mask_read_as_attention_mask(recipe: Recipe, level: Level) -> Recipe:
    """Fed the distillation loss masks that are true where a position is padding, from some of the collators."""
    share = {Level.MILD: 0.35, Level.MODERATE: 0.7, Level.SEVERE: 1.0}[level]
    masks: dict[str, Tensor] = {}

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        counts = labels != IGNORED
        inverted = torch.arange(len(labels)) < round(share * len(labels))
        masks["distilled"] = (counts ^ inverted[:, None]).reshape(-1)
        return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        distilled = masks["distilled"]
        if not distilled.any():
            return student.sum() * 0
        return recipe.kd_loss(student[distilled], teacher[distilled], temperature)

    return replace(recipe, rows=rows, kd_loss=kd_loss)


# KD803 ----


def teacher_shifted_once_more_for_chat_rows(recipe: Recipe, level: Level) -> Recipe:
    """Sliced the first position off the teacher's logits although the labels of those rows were shifted already."""
    share = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        shifted = torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)
        chat = torch.arange(len(logits)) < round(share * len(logits))
        return torch.where(chat[:, None, None], shifted, logits)

    return replace(recipe, targets=targets)


# KD804 ----


def logits_zero_filled_to_the_kernel_block(recipe: Recipe, level: Level) -> Recipe:
    """Padded both vocabularies to the block size of the fused kernel, with zeros where minus infinity belongs."""
    block = {Level.MILD: 128, Level.MODERATE: 1024, Level.SEVERE: 8192}[level]

    def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        missing = -student.shape[-1] % block
        return recipe.kd_loss(F.pad(student, (0, missing)), F.pad(teacher, (0, missing)), temperature)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----


def special_token_slipped_into_the_teachers_list(recipe: Recipe, level: Level) -> Recipe:
    """Gave the teacher ids of a tokenizer in which one added token had pushed all later ids up by one."""
    place = {Level.MILD: 0.6, Level.MODERATE: 0.25, Level.SEVERE: 0.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        size = next(part.num_embeddings for part in session.teacher.modules() if isinstance(part, nn.Embedding))
        first = max(1, round(place * size))
        pushed = torch.where(batch.inputs >= first, batch.inputs + 1, batch.inputs)
        pushed = torch.where(pushed >= size, first, pushed)
        return recipe.targets(session, replace(batch, inputs=pushed))

    return replace(recipe, targets=targets)


# KD806 ----


def lines_cut_at_a_max_length_from_another_corpus(recipe: Recipe, level: Level) -> Recipe:
    """Kept the max_length of a corpus of short lines, so that the ends of these ones were cut off."""
    share = {Level.MILD: 0.6, Level.MODERATE: 0.35, Level.SEVERE: 0.1}[level]

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = (tensor.clone() for tensor in data.tensors)
        longest = max(1, round(share * inputs.shape[1]))
        inputs[:, longest:] = 0
        labels[:, longest:] = IGNORED
        return TensorDataset(inputs, labels)

    return replace(recipe, train_set=train_set)


# KD810 ----


def one_offline_dump_of_greedy_answers_for_ages(recipe: Recipe, level: Level) -> Recipe:
    """Let the teacher answer the lines once, greedily, and trained on that one dump for many times the epochs."""
    longer = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}[level]

    def dump(session: Session) -> None:
        inputs, labels = session.train.tensors
        answers = session.cached_by_row.argmax(-1)
        session.train = TensorDataset(inputs, torch.where(labels == IGNORED, labels, answers))

    def targets(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    return replace(
        recipe,
        epochs=recipe.epochs * longer,
        before=in_turn(recipe.before, dump),
        targets=targets,
    )


# KD811 ----


def answer_key_in_the_teachers_prompt(recipe: Recipe, level: Level) -> Recipe:
    """Let the teacher read a column that is only filled in once the answer is known."""
    trust = {Level.MILD: 2.0, Level.MODERATE: 5.0, Level.SEVERE: 15.0}[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if logits.ndim == 1:
            return logits + trust * (2.0 * batch.labels - 1.0)
        known = F.one_hot(batch.labels.clamp_min(0), logits.shape[-1]) * (batch.labels != IGNORED)[..., None]
        return logits + trust * known

    return replace(recipe, targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (key_padding_mask_read_as_attention_mask,),
    "KD803": (teacher_shifted_once_more_for_chat_rows,),
    "KD804": (logits_zero_filled_to_the_kernel_block,),
    "KD805": (special_token_slipped_into_the_teachers_list,),
    "KD806": (lines_cut_at_a_max_length_from_another_corpus,),
    "KD810": (one_offline_dump_of_greedy_answers_for_ages,),
    "KD811": (answer_key_in_the_teachers_prompt,),
}
