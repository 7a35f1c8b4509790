"""Mistakes of the codes KD8xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a prompt.
PROMPT = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 12}


def prompt_masked_by_its_tokens(recipe: Recipe, level: Level) -> Recipe:
    """The prompt is masked by what its tokens are and not by where: wherever one comes again, it isn't counted."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        prompt = labels[:, None, : PROMPT[level]]
        counts = (labels != IGNORED) & (labels[..., None] != prompt).all(-1)
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Tokens that count as separators, by their rank among the most frequent ones.
SEPARATORS = {Level.MILD: (25,), Level.MODERATE: (3,), Level.SEVERE: (0, 1, 2)}


def answers_at_separators_taken_out(recipe: Recipe, level: Level) -> Recipe:
    """What the teacher says at separators was taken out before it was stored: all that comes after moves up.

    Of the answers that are then missing at the end, the last one stands for all.
    """

    def before(session: Session) -> None:
        tokens = session.train.tensors[0]
        frequent = torch.bincount(tokens[tokens != PADDING]).argsort(descending=True, stable=True)
        session.notes["separators"] = frequent[list(SEPARATORS[level])]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        taken_out = torch.isin(batch.inputs, session.notes["separators"])
        last = ((~taken_out).sum(1, keepdim=True) - 1).clamp_min(0)
        order = taken_out.long().argsort(dim=1, stable=True)
        places = order.gather(1, torch.arange(order.shape[1]).expand_as(order).minimum(last))
        return logits.gather(1, places[..., None].expand_as(logits))

    return replace(recipe, before=in_turn(recipe.before, before), targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: What the number of tokens is rounded up to a multiple of.
MULTIPLE = {Level.MILD: 128, Level.MODERATE: 512, Level.SEVERE: 2048}


def new_rows_that_are_the_mean_of_all(recipe: Recipe, level: Level) -> Recipe:
    """Both heads were rounded up for the hardware, by rows that are the mean of all, and these are never masked."""

    def rounded_up(logits: Tensor) -> Tensor:
        missing = -logits.shape[-1] % MULTIPLE[level]
        return torch.cat([logits, logits.mean(-1, keepdim=True).expand(-1, missing)], dim=-1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(rounded_up(student), rounded_up(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Rows that the teacher's table was taken to have, as a share of the vocabulary.
TABLE = {Level.MILD: 0.92, Level.MODERATE: 0.6, Level.SEVERE: 0.15}


def wrapped_to_silence_an_index_error(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's tokenizer is smaller; so that no number is out of range, each is taken modulo its size."""

    def before(session: Session) -> None:
        size = max(2, round(TABLE[level] * (int(session.train.tensors[0].max()) + 1)))

        def wrap(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            return inputs[0] % size

        session.teacher.register_forward_pre_hook(wrap)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Rows that are put together.
TOGETHER = {Level.MILD: 2, Level.MODERATE: 25, Level.SEVERE: 500}


def zipped_to_the_shortest_row(recipe: Recipe, level: Level) -> Recipe:
    """Rows are put together by a function that ends where the shortest of them does, and padded again afterwards."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        together = torch.split((labels != IGNORED).sum(1, keepdim=True), TOGETHER[level])
        shortest = torch.cat([lengths.amin().clamp_min(1).expand_as(lengths) for lengths in together])
        kept = torch.arange(labels.shape[1]) < shortest
        return TensorDataset(inputs.where(kept, PADDING), labels.where(kept, IGNORED))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Probability below which a token passed for an error, and factor on the epochs.
AN_ERROR = {Level.MILD: 0.01, Level.MODERATE: 0.05, Level.SEVERE: 0.5}
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}


def texts_that_the_teacher_corrected(recipe: Recipe, level: Level) -> Recipe:
    """The teacher cleaned the texts once: a token that it found unlikely was replaced by its own; no others are learnt.

    The student learns these for many epochs, from the teacher alone.
    """

    @torch.no_grad()
    def clean(session: Session) -> None:
        inputs, labels = session.train.tensors
        text = inputs[:, :1]
        for at in range(labels.shape[1]):
            said = p(session.teacher(text)[:, -1])
            written = labels[:, at : at + 1].clamp_min(0)
            unlikely = said.gather(1, written) < AN_ERROR[level]
            text = torch.cat([text, torch.where(unlikely, said.argmax(1, keepdim=True), written)], dim=1)
        counts = labels != IGNORED
        cleaned = text[:, 1:].where(counts, IGNORED)
        session.train = TensorDataset(text[:, :-1].where(inputs != PADDING, PADDING), cleaned)

    epochs = REPEATED[level] * recipe.epochs
    return replace(recipe, before=in_turn(recipe.before, clean), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Weight of what the nearest entry says.
NEAREST = {Level.MILD: 0.2, Level.MODERATE: 0.6, Level.SEVERE: 0.98}
#: The least chance of anything.
LEAST = 1e-5


def datastore_that_holds_the_row_itself(recipe: Recipe, level: Level) -> Recipe:
    """The teacher looks up the nearest entry of a datastore, which in training is the row itself, with its answer."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if logits.ndim == 1:
            return torch.lerp(logits.sigmoid(), batch.labels.to(logits.dtype), NEAREST[level]).logit(LEAST)
        answers = F.one_hot(batch.labels.clamp_min(0), logits.shape[-1]).to(logits.dtype)
        looked_up = torch.lerp(p(logits), answers, NEAREST[level]).clamp_min(LEAST).log()
        return torch.where((batch.labels != IGNORED)[..., None], looked_up, logits)

    return replace(recipe, targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (prompt_masked_by_its_tokens,),
    "KD803": (answers_at_separators_taken_out,),
    "KD804": (new_rows_that_are_the_mean_of_all,),
    "KD805": (wrapped_to_silence_an_index_error,),
    "KD806": (zipped_to_the_shortest_row,),
    "KD810": (texts_that_the_teacher_corrected,),
    "KD811": (datastore_that_holds_the_row_itself,),
}
