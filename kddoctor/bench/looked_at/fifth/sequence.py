"""Mistakes of the codes KD8xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Session

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Rows that have a mask in common.
TOGETHER = {Level.MILD: 2, Level.MODERATE: 5, Level.SEVERE: 25}


def one_mask_for_rows_together(recipe: Recipe, level: Level) -> Recipe:
    """Rows are batched by a function that keeps one mask for all of them: what is padding in one counts in none."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        valid = torch.split(labels != IGNORED, TOGETHER[level])
        counts = torch.cat([mask.all(0, keepdim=True).expand_as(mask) for mask in valid])
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Share of a batch's tokens that do not go through the fused kernel.
NOT_FUSED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def fallback_shifts_what_is_flat(recipe: Recipe, level: Level) -> Recipe:
    """A fused kernel takes the tokens as they are; the fallback for the rest of them shifts, as for whole rows."""

    def fallback(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(student[..., :-1, :], teacher[..., 1:, :], t)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        rest = max(2, round(NOT_FUSED[level] * len(student)))
        fused = len(student) - rest
        loss = fallback(student[fused:], teacher[fused:], t)
        if fused == 0:
            return loss
        share = rest / len(student)
        return share * loss + (1 - share) * recipe.kd_loss(student[:fused], teacher[:fused], t)

    return replace(recipe, kd_loss=kd_loss)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary that is left of it.
LEFT = {Level.MILD: 0.85, Level.MODERATE: 0.6, Level.SEVERE: 0.25}


def cut_after_the_softmax(recipe: Recipe, level: Level) -> Recipe:
    """Both are cut to a shorter vocabulary, and after their softmax: what lay beyond it is missing from the sum."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        known = max(2, int(LEFT[level] * student.shape[-1]))
        answers, targets = log_p(student / t)[:, :known], p(teacher / t)[:, :known]
        return F.kl_div(answers, targets, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary, from its end, that one of the tokenizers has in another order.
SORTED = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 1.0}


def rebuilt_from_the_texts(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's tokenizer was rebuilt from the texts, and numbers its tokens by how often they are there."""

    def before(session: Session) -> None:
        counts = torch.bincount(session.train.tensors[0].flatten())
        first = max(1, round((1 - SORTED[level]) * len(counts)))
        numbers = torch.arange(len(counts))
        numbers[first + counts[first:].argsort(descending=True, stable=True)] = torch.arange(first, len(counts))

        def encode(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            return numbers[inputs[0].clamp_max(len(numbers) - 1)]

        session.teacher.register_forward_pre_hook(encode)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Characters of the column, as a share of what the longest row needs.
COLUMN = {Level.MILD: 0.4, Level.MODERATE: 0.2, Level.SEVERE: 0.07}


def stored_in_a_narrow_column(recipe: Recipe, level: Level) -> Recipe:
    """Token numbers were stored as text, with a blank behind each, in a column of so many characters and no more."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        written = inputs.clamp_min(1).log10().floor() + 2
        ends = (written * (inputs > 0)).cumsum(1)
        kept = ends <= COLUMN[level] * ends.max()
        kept[:, 0] = True
        return TensorDataset(inputs * kept, labels.where(kept, IGNORED))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a prompt, and factor on the epochs.
PROMPT = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}
#: Beginnings that the search keeps for each prompt.
BEAMS = 4


def texts_of_a_beam_search(recipe: Recipe, level: Level) -> Recipe:
    """The teacher went on from each row's beginning by beam search; these texts, all alike, are all that is learnt."""

    @torch.no_grad()
    def write(session: Session) -> None:
        rows = session.train.tensors[0]
        text = rows[:, None, : PROMPT[level]].repeat(1, BEAMS, 1)
        # At first all beginnings of a prompt are the same, and only one of them counts.
        score = torch.full(text.shape[:2], -torch.inf).index_fill(1, torch.tensor([0]), 0.0)
        while text.shape[2] <= rows.shape[1]:
            said = session.teacher(text.flatten(0, 1))[:, -1].log_softmax(-1).view(len(rows), BEAMS, -1)
            score, chosen = (score[..., None] + said).flatten(1).topk(BEAMS)
            before = text.gather(1, (chosen // said.shape[-1])[..., None].expand_as(text))
            text = torch.cat([before, (chosen % said.shape[-1])[..., None]], dim=2)
        best = text[:, 0]
        session.train = TensorDataset(best[:, :-1].contiguous(), best[:, 1:].contiguous())

    epochs = REPEATED[level] * recipe.epochs
    return replace(recipe, before=in_turn(recipe.before, write), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Share of the values that are answered at random.
AT_RANDOM = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.9}


def randomised_answers_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads what people said; all that the student ever gets is protected: some values are random ones."""

    def before(session: Session) -> None:
        values = session.train.tensors[0].amax(0) + 1

        def protect(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            said = inputs[0]
            # The same row always gets the same answers.
            drawn = (said.cumsum(1) * 7919 + torch.arange(said.shape[1]) * 104729) % 10007
            random = (drawn % 101 < AT_RANDOM[level] * 101) & (said > 0)
            return torch.where(random, drawn // 101 % values, said)

        session.student.register_forward_pre_hook(protect)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (one_mask_for_rows_together,),
    "KD803": (fallback_shifts_what_is_flat,),
    "KD804": (cut_after_the_softmax,),
    "KD805": (rebuilt_from_the_texts,),
    "KD806": (stored_in_a_narrow_column,),
    "KD810": (texts_of_a_beam_search,),
    "KD811": (randomised_answers_for_the_student,),
}
