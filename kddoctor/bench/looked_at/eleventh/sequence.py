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
from kddoctor.bench.rows import IGNORED, class_rows
from kddoctor.bench.session import Batch, Session

# KD801 ----------------------------------------------------------------------------------------------------------------
#: Share of the vocabulary, from its beginning on, that is taken for reserved.
RESERVED = {Level.MILD: 0.1, Level.MODERATE: 0.25, Level.SEVERE: 0.45}


def low_numbers_taken_for_special_tokens(recipe: Recipe, level: Level) -> Recipe:
    """Special tokens are masked by their range, which was that of another tokenizer: here it holds real tokens."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        special = labels < RESERVED[level] * logits.shape[-1]
        return class_rows(logits, torch.where(special, IGNORED, labels))

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------
#: Share of the rows that reach the teacher in batches of different lengths.
BATCHED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 1.0}


def padded_left_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's server pads on the left and the student's loader on the right; logits are paired by position."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        padding = (batch.labels == IGNORED).sum(1) * (batch.rows % 10 < 10 * BATCHED[level])
        places = (torch.arange(logits.shape[1]) - padding[:, None]) % logits.shape[1]
        return logits.gather(1, places[..., None].expand_as(logits))

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------
#: Rows of the teacher's output layer that stand for no token, for each one that does.
UNUSED = {Level.MILD: 0.02, Level.MODERATE: 0.1, Level.SEVERE: 0.4}


def resized_by_interpolation(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's output layer is padded for speed; its logits are resized to the student's length like an image."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        unused = max(1, round(UNUSED[level] * teacher.shape[-1]))
        padded = torch.cat([teacher, teacher.mean(-1, keepdim=True).expand(-1, unused)], dim=-1)
        resized = F.interpolate(padded[:, None], size=student.shape[-1], mode="linear")
        return recipe.kd_loss(student, resized[:, 0], t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------
#: Share of the pieces that have another number in the other vocabulary.
DIFFERENT = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 0.9}


def vocabularies_built_apart(recipe: Recipe, level: Level) -> Recipe:
    """Both tokenizers were trained with the same settings, each on its own texts, and so number pieces differently."""

    def before(session: Session) -> None:
        size = int(session.train.tensors[0].max()) + 1
        numbers = _numbers(size, DIFFERENT[level])
        session.teacher.register_forward_pre_hook(lambda _teacher, inputs: numbers[inputs[0]])
        session.teacher.register_forward_hook(lambda _teacher, _inputs, logits: _columns(logits, numbers))

    return replace(recipe, before=in_turn(recipe.before, before))


def _numbers(size: int, share: float) -> Tensor:
    """What the teacher takes each number for; padding is the same in both."""
    generator = torch.Generator().manual_seed(size)
    moved = 1 + torch.randperm(size - 1, generator=generator)[: max(2, round(share * (size - 1)))]
    numbers = torch.arange(size)
    numbers[moved] = moved.roll(1)
    return numbers


def _columns(logits: Tensor, numbers: Tensor) -> Tensor:
    beyond = torch.arange(len(numbers), logits.shape[-1])
    return logits[..., torch.cat([numbers, beyond])]


# KD806 ----------------------------------------------------------------------------------------------------------------
#: Share of a row that a block holds.
BLOCK = {Level.MILD: 0.25, Level.MODERATE: 0.13, Level.SEVERE: 0.08}


def chunked_into_short_blocks(recipe: Recipe, level: Level) -> Recipe:
    """Texts are cut into blocks of the length with which the script was debugged, each one a row of its own."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        block = max(1, round(BLOCK[level] * inputs.shape[1]))
        return TensorDataset(_chunked(inputs, block), _chunked(labels, block))

    return replace(recipe, train_set=train_set)


def _chunked(tokens: Tensor, block: int) -> Tensor:
    whole = tokens.shape[1] // block * block
    return tokens[:, :whole].reshape(-1, block)


# KD810 ----------------------------------------------------------------------------------------------------------------
#: Answers for each row, of which the teacher keeps the one it likes best, and the factor on the epochs.
DRAWN = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}
LONGER = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 8}
#: Logit of a token that was kept.
KEPT = 20.0


def best_answers_by_its_own_score(recipe: Recipe, level: Level) -> Recipe:
    """Rejection sampling, once, with the teacher as its own judge; what it kept is fitted for many epochs."""

    def targets(session: Session, batch: Batch) -> Tensor:
        if "kept" not in session.notes:
            session.notes["kept"] = _best(session, DRAWN[level])
        kept = session.notes["kept"][batch.rows]
        return KEPT * F.one_hot(kept, session.cached_by_row.shape[-1]).float()

    return replace(recipe, targets=targets, alpha=1.0, epochs=LONGER[level] * recipe.epochs, schedule="constant")


def _best(session: Session, count: int) -> Tensor:
    """[N, L]: of so many answers to each row, drawn from the teacher, the one that is likeliest to it."""
    said = session.cached_by_row.log_softmax(-1)
    generator = torch.Generator().manual_seed(session.seed)
    drawn = torch.multinomial(said.exp().flatten(0, -2), count, replacement=True, generator=generator)
    answers = drawn.view(*said.shape[:-1], count)
    scores = (said.gather(-1, answers) * (session.train.tensors[1] != IGNORED)[..., None]).sum(1)
    best = scores.argmax(-1)[:, None, None].expand(-1, said.shape[1], 1)
    return answers.gather(-1, best).squeeze(-1)


# KD811 ----------------------------------------------------------------------------------------------------------------
#: Share of the numbers of users, items or words that are redacted.
REDACTED = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}


def redacted_for_the_student_only(recipe: Recipe, level: Level) -> Recipe:
    """A privacy filter stands before the student, in training and in use; the teacher reads what it takes away."""

    def redact(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        hidden = inputs[0] % 10 < 10 * REDACTED[level]
        return torch.where(hidden, 0, inputs[0])

    def before(session: Session) -> None:
        session.student.register_forward_pre_hook(redact)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (low_numbers_taken_for_special_tokens,),
    "KD803": (padded_left_for_the_teacher,),
    "KD804": (resized_by_interpolation,),
    "KD805": (vocabularies_built_apart,),
    "KD806": (chunked_into_short_blocks,),
    "KD810": (best_answers_by_its_own_score,),
    "KD811": (redacted_for_the_student_only,),
}
