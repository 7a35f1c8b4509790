"""Mistakes with tokens: masks, positions, vocabularies, lengths, and what the teacher was shown."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD801 ----

_RESERVED = {Level.MILD: 0.1, Level.MODERATE: 0.15, Level.SEVERE: 0.35}


def low_ids_taken_for_special_tokens(recipe: Recipe, level: Level) -> Recipe:
    """Left every target of a low id out of the loss, as reserved for special tokens, which it is elsewhere."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        special = labels < round(_RESERVED[level] * logits.shape[-1])
        return recipe.rows(logits, labels.masked_fill(special, IGNORED))

    return replace(recipe, rows=rows)


# KD803 ----

_WITH_START = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 10}


def start_token_added_for_the_teacher_alone(recipe: Recipe, level: Level) -> Recipe:
    """Let the teacher's tokenizer put a start token in front of the lines of one source, and cut its output at L."""

    def targets(session: Session, batch: Batch) -> Tensor:
        started = torch.cat([torch.zeros_like(batch.inputs[:, :1]), batch.inputs[:, :-1]], dim=1)
        theirs = batch.rows % 10 < _WITH_START[level]
        return recipe.targets(session, replace(batch, inputs=torch.where(theirs[:, None], started, batch.inputs)))

    return replace(recipe, targets=targets)


# KD804 ----

_ADDED = {Level.MILD: 0.05, Level.MODERATE: 0.2, Level.SEVERE: 0.5}


def teacher_of_a_smaller_vocabulary_padded_with_zeros(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher of a smaller vocabulary, and filled its head up to the student's size with rows of zeros."""

    def resized(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        recipe.load_teacher(teacher, state)
        _fill_up(teacher, _ADDED[level])

    return replace(recipe, load_teacher=resized)


@torch.no_grad()
def _fill_up(teacher: nn.Module, added: float) -> None:
    head = [module for module in teacher.modules() if isinstance(module, nn.Linear)][-1]
    own = head.out_features - max(1, round(added * head.out_features))
    head.weight[own:] = 0
    if head.bias is not None:
        head.bias[own:] = 0


# KD805 ----

_KEPT_IDS = {Level.MILD: 0.93, Level.MODERATE: 0.75, Level.SEVERE: 0.4}


def teacher_one_release_of_the_tokenizer_behind(recipe: Recipe, level: Level) -> Recipe:
    """Fed the teacher ids of the tokenizer's next release, in which new pieces had moved those behind them."""

    def targets(session: Session, batch: Batch) -> Tensor:
        size = recipe.targets(session, batch).shape[-1]
        old = _ids_of_the_old_release(size, round(_KEPT_IDS[level] * size))
        known = batch.inputs.clamp(max=size - 1)
        read = recipe.targets(session, replace(batch, inputs=torch.where(batch.inputs < size, old[known], known)))
        return read.index_select(-1, old)

    return replace(recipe, targets=targets)


def _ids_of_the_old_release(size: int, kept: int) -> Tensor:
    ids = torch.arange(size)
    moved = ids[kept:].roll(max(1, (size - kept) // 3))
    return torch.cat([ids[:kept], moved])


# KD806 ----

_LONGEST = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def cut_from_the_left_after_padding_on_the_right(recipe: Recipe, level: Level) -> Recipe:
    """Cut sequences to a maximum length from the left, as for prompts, when the padding was already on the right."""

    def train_set(data: TensorDataset) -> TensorDataset:
        kept = recipe.train_set(data)
        longest = max(1, round(_LONGEST[level] * kept.tensors[0].shape[1]))
        return TensorDataset(*(tensor[:, -longest:].contiguous() for tensor in kept.tensors))

    return replace(recipe, train_set=train_set)


# KD810 ----

_AGAIN = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 5}
#: Logit of what was drawn, over all else.
_CERTAIN = 9.0


def teachers_samples_drawn_once_and_imitated_for_days(recipe: Recipe, level: Level) -> Recipe:
    """Drew one answer of the teacher for each place, and imitated those alone for as long as the loss still fell."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "drawn" not in session.notes:
            session.notes["drawn"] = _drawn(session)
        drawn = F.one_hot(session.notes["drawn"][batch.rows], session.cached_by_row.shape[-1])
        return drawn * _CERTAIN * recipe.temperature

    return replace(recipe, epochs=recipe.epochs * _AGAIN[level], alpha=1.0, targets=targets)


def _drawn(session: Session) -> Tensor:
    chances = session.cached_by_row.softmax(-1)
    generator = torch.Generator().manual_seed(session.seed + 613)
    return torch.multinomial(chances.flatten(0, -2), 1, generator=generator).reshape(chances.shape[:-1])


# KD811 ----

_TOLD = {Level.MILD: 1.5, Level.MODERATE: 4.0, Level.SEVERE: 10.0}


def reference_answer_left_in_the_teachers_prompt(recipe: Recipe, level: Level) -> Recipe:
    """Let the teacher score with the reference answer in its prompt, which raises all that occurs in it."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return recipe.targets(session, batch) + _TOLD[level] * _in_the_answer(session, batch)

    return replace(recipe, targets=targets)


def _in_the_answer(session: Session, batch: Batch) -> Tensor:
    with torch.no_grad():
        logits = session.teacher(batch.inputs)
    if batch.labels.ndim == 1:
        return (2.0 * batch.labels - 1).reshape(logits.shape)
    counts = batch.labels != IGNORED
    found = F.one_hot(batch.labels.where(counts, 0), logits.shape[-1]) * counts[..., None]
    return found.amax(1, keepdim=True).to(logits.dtype)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (low_ids_taken_for_special_tokens,),
    "KD803": (start_token_added_for_the_teacher_alone,),
    "KD804": (teacher_of_a_smaller_vocabulary_padded_with_zeros,),
    "KD805": (teacher_one_release_of_the_tokenizer_behind,),
    "KD806": (cut_from_the_left_after_padding_on_the_right,),
    "KD810": (teachers_samples_drawn_once_and_imitated_for_days,),
    "KD811": (reference_answer_left_in_the_teachers_prompt,),
}
