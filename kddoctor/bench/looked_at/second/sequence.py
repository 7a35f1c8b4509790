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

#: Share of the vocabulary, from its beginning, that is taken for special tokens.
SPECIAL = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.7}


def numbers_taken_for_special(recipe: Recipe, level: Level) -> Recipe:
    """Special tokens are masked by their numbers, up to one that is far too high: common tokens are masked as well."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        counts = labels >= int(SPECIAL[level] * logits.shape[-1])
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


def zeroed_and_not_left_out(recipe: Recipe, _level: Level) -> Recipe:
    """The mask is multiplied with the logits: padding adds nothing to the divergence, and still divides its mean."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        masked = logits * (labels != IGNORED)[..., None]
        return masked.flatten(0, -2), labels.flatten()

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Tokens that the teacher's template has more than the student's.
LONGER_TEMPLATE = {Level.MILD: 2, Level.MODERATE: 3, Level.SEVERE: 6}


def labels_never_shifted(recipe: Recipe, _level: Level) -> Recipe:
    """Each loss leaves the shift to the other side: the label of a position is the token that stands there."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return class_rows(logits[:, 1:], torch.where(labels[:, 1:] == IGNORED, IGNORED, labels[:, :-1]))

    return replace(recipe, rows=rows)


def late_by_a_template(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits are aligned from the first token on, and its template is some tokens longer."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        late = min(LONGER_TEMPLATE[level], logits.shape[1] - 1)
        return torch.cat([logits[:, :1].expand(-1, late, -1), logits[:, :-late]], dim=1)

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Untrained rows of the teacher's head for each token that exists, and the deviation of their logits.
UNTRAINED = {Level.MILD: 1, Level.MODERATE: 8, Level.SEVERE: 32}
DEVIATION = 1.0
#: Share of the vocabulary that is left when the rest of the numbers is folded back.
FOLDED = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.25}


def untrained_rows_of_the_head(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's head was rounded up with random rows, and the student's logits are filled with zeros to match."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        missing = UNTRAINED[level] * teacher.shape[-1]
        generator = torch.Generator().manual_seed(83)
        untrained = DEVIATION * torch.randn(len(teacher), missing, generator=generator)
        return recipe.kd_loss(F.pad(student, (0, missing)), torch.cat([teacher, untrained], dim=-1), t)

    return replace(recipe, kd_loss=kd_loss)


def folded_back_by_modulo(recipe: Recipe, level: Level) -> Recipe:
    """Numbers beyond the shorter vocabulary are taken modulo its length: tokens share their probability."""

    def folded(logits: Tensor) -> Tensor:
        known = max(2, int(FOLDED[level] * logits.shape[-1]))
        missing = -logits.shape[-1] % known
        return F.pad(logits, (0, missing), value=-torch.inf).reshape(len(logits), -1, known).logsumexp(1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(folded(student), folded(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary that one tokenizer counts from its end.
FROM_THE_END = {Level.MILD: 0.15, Level.MODERATE: 0.4, Level.SEVERE: 1.0}


def counted_from_the_end(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's vocabulary was sorted the other way round, all of it but the first tokens."""

    def before(session: Session) -> None:
        last = int(session.train.tensors[0].max())
        first = max(1, round((1 - FROM_THE_END[level]) * last))

        def encode(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            return torch.where(inputs[0] >= first, last + first - inputs[0], inputs[0])

        session.teacher.register_forward_pre_hook(encode)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Share of a row that is left.
LEFT = {Level.MILD: 0.5, Level.MODERATE: 0.25, Level.SEVERE: 0.1}


def cut_and_padded_again(recipe: Recipe, level: Level) -> Recipe:
    """Rows are cut to a small maximum and padded to the length that the model expects."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = (tensor.clone() for tensor in recipe.train_set(data).tensors)
        limit = max(1, round(LEFT[level] * inputs.shape[1]))
        inputs[:, limit:] = 0
        labels[:, limit:] = IGNORED
        return TensorDataset(inputs, labels)

    return replace(recipe, train_set=train_set)


def middle_cut_out(recipe: Recipe, level: Level) -> Recipe:
    """Long rows keep their beginning and their end, and the middle of each is cut out."""

    def train_set(data: TensorDataset) -> TensorDataset:
        half = max(1, round(LEFT[level] * data.tensors[0].shape[1] / 2))
        whole = recipe.train_set(data)
        return TensorDataset(*(torch.cat([tensor[:, :half], tensor[:, -half:]], dim=1) for tensor in whole.tensors))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Factor on the epochs, and on the logits of answers that were drawn at a low temperature.
LONGER = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}
SHARPER = {Level.MILD: 2.0, Level.MODERATE: 3.0, Level.SEVERE: 5.0}
#: Logit of a token that the teacher wrote.
CERTAIN = 15.0


def greedy_answers_by_heart(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's likeliest answers were written down once, and the student learns them by heart, without labels."""

    def targets(session: Session, batch: Batch) -> Tensor:
        written = session.cached_by_row[batch.rows]
        return CERTAIN * F.one_hot(written.argmax(-1), written.shape[-1]).to(written.dtype)

    return replace(recipe, targets=targets, alpha=1.0, epochs=LONGER[level] * recipe.epochs)


def answers_at_a_low_temperature(recipe: Recipe, level: Level) -> Recipe:
    """Outputs were stored once, at a low temperature for cleaner answers; they are fitted for many epochs alone."""

    def targets(session: Session, batch: Batch) -> Tensor:
        return SHARPER[level] * session.cached_by_row[batch.rows]

    return replace(recipe, targets=targets, alpha=1.0, epochs=(1 + LONGER[level]) * recipe.epochs)


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Share of the numbers that are blacked out for the student, and of the answers that the teacher has a hint at.
BLACKED_OUT = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.9}
HINTED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 0.9}
#: What a hint adds to a logit.
HINT = 8.0


def blacked_out_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads everything; names and numbers are blacked out in all that the student ever gets."""

    def black_out(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        if inputs[0].is_floating_point():
            return inputs[0]
        shown = inputs[0] * 37 % 101 >= BLACKED_OUT[level] * 101
        return inputs[0] * shown

    def before(session: Session) -> None:
        session.student.register_forward_pre_hook(black_out)

    return replace(recipe, before=in_turn(recipe.before, before))


def hints_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """What became known only afterwards stands in the teacher's input, wherever it had been logged."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        all_labels = session.train.tensors[1]
        if "hinted" not in session.notes:
            generator = torch.Generator().manual_seed(89)
            session.notes["hinted"] = torch.rand(all_labels.shape, generator=generator) < HINTED[level]
        hinted: Tensor = session.notes["hinted"][batch.rows] & (batch.labels != IGNORED)
        if logits.ndim == 1:
            return logits + HINT * hinted * (2 * batch.labels - 1)
        return logits + HINT * hinted[..., None] * F.one_hot(batch.labels.clamp_min(0), logits.shape[-1])

    return replace(recipe, targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (numbers_taken_for_special, zeroed_and_not_left_out),
    "KD803": (labels_never_shifted, late_by_a_template),
    "KD804": (untrained_rows_of_the_head, folded_back_by_modulo),
    "KD805": (counted_from_the_end,),
    "KD806": (cut_and_padded_again, middle_cut_out),
    "KD810": (greedy_answers_by_heart, answers_at_a_low_temperature),
    "KD811": (blacked_out_for_the_student, hints_for_the_teacher),
}
