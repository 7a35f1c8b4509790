"""Mistakes of the codes KD8xx."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Positions of padding with which a row still counts.
TOLERATED = {Level.MILD: 3, Level.MODERATE: 1, Level.SEVERE: 0}


def rows_and_not_positions_masked(recipe: Recipe, level: Level) -> Recipe:
    """The mask was reduced to one bit a row: a row with padding in it is left out as a whole, and its words with it."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        valid = labels != IGNORED
        whole = (~valid).sum(1) <= TOLERATED[level]
        # The script falls back to all rows where none would be left.
        counts = valid & whole[:, None] if whole.any() else valid
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a window.
WINDOW = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}


def windows_joined_with_their_overlap(recipe: Recipe, level: Level) -> Recipe:
    """The teacher scored windows that overlap by a token, and they were joined whole: each comes one token later."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        at = torch.arange(logits.shape[1])
        late = (at - 1).clamp_min(0).div(WINDOW[level], rounding_mode="floor")
        return logits[:, at - late]

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary that is known; whatever is beyond it counts as its last token.
KNOWN = {Level.MILD: 0.8, Level.MODERATE: 0.5, Level.SEVERE: 0.2}


def beyond_the_end_is_the_last_token(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's numbers are clamped to the length of a shorter vocabulary, whose last token gets all the rest."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        said = log_p(teacher / t)
        last = max(2, round(KNOWN[level] * said.shape[-1])) - 1
        piled = torch.cat([said[:, :last], said[:, last:].logsumexp(-1, keepdim=True)], dim=-1)
        target = F.pad(piled.exp(), (0, said.shape[-1] - last - 1))
        return F.kl_div(log_p(student / t), target, reduction="batchmean") * t * t

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: How many of the most frequent tokens the teacher's tokenizer strips.
STRIPPED = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 15}


def stripped_by_the_teachers_tokenizer(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's tokenizer strips blanks and the like, which its training text had; its answers are put back."""

    def before(session: Session) -> None:
        counts = torch.bincount(session.train.tensors[0].flatten())
        counts[0] = 0
        stripped = counts.topk(STRIPPED[level]).indices
        kept: dict[str, Tensor] = {}

        def strip(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            kept["tokens"] = stays = ~torch.isin(inputs[0], stripped)
            text = inputs[0].gather(1, (~stays).long().argsort(dim=1, stable=True))
            return text * (torch.arange(text.shape[1]) < stays.sum(1, keepdim=True))

        def put_back(_teacher: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            # What follows a token that was stripped is what follows the one before it.
            place = (kept["tokens"].long().cumsum(1) - 1).clamp_min(0)
            return output.gather(1, place[..., None].expand_as(output))

        session.teacher.register_forward_pre_hook(strip)
        session.teacher.register_forward_hook(put_back)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Length of a block, as a share of the row.
BLOCK = {Level.MILD: 0.25, Level.MODERATE: 0.12, Level.SEVERE: 0.04}


def blocks_that_know_of_no_other(recipe: Recipe, level: Level) -> Recipe:
    """Rows longer than a small maximum are cut into blocks, each of them a row that has lost what came before it."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        block = max(1, round(BLOCK[level] * inputs.shape[1]))
        missing = -inputs.shape[1] % block
        inputs = F.pad(inputs, (0, missing)).reshape(-1, block)
        labels = F.pad(labels, (0, missing), value=IGNORED).reshape(-1, block)
        counts = (labels != IGNORED).any(1)
        return TensorDataset(inputs[counts], labels[counts])

    # There are so many more rows.
    return replace(recipe, train_set=train_set, epochs=max(1, round(recipe.epochs * BLOCK[level])))


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Texts for each prompt, of which one is kept; share of the prompts; factor on the epochs.
WRITTEN = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 16}
ANSWERED = {Level.MILD: 0.6, Level.MODERATE: 0.3, Level.SEVERE: 0.1}
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 4}
#: Tokens of a prompt.
PROMPT = 3


def best_of_many_by_its_own_score(recipe: Recipe, level: Level) -> Recipe:
    """The teacher wrote many texts for each prompt and kept what it liked best itself; the student learns those."""

    @torch.no_grad()
    def write(session: Session) -> None:
        rows = session.train.tensors[0][: max(2, int(ANSWERED[level] * len(session.train)))]
        generator = torch.Generator().manual_seed(session.seed)
        text = rows[:, :PROMPT].repeat_interleave(WRITTEN[level], dim=0)
        score = torch.zeros(len(text))
        while text.shape[1] <= rows.shape[1]:
            said = session.teacher(text)[:, -1].log_softmax(-1)
            drawn = torch.multinomial(said.exp(), 1, generator=generator)
            text, score = torch.cat([text, drawn], dim=1), score + said.gather(1, drawn)[:, 0]
        best = score.view(len(rows), -1).argmax(1)
        text = text.view(len(rows), WRITTEN[level], -1)[torch.arange(len(rows)), best]
        session.train = TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    epochs = round(REPEATED[level] * recipe.epochs / ANSWERED[level])
    return replace(recipe, before=in_turn(recipe.before, write), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Numbers that are one and the same to the student.
TOGETHER = {Level.MILD: 3, Level.MODERATE: 10, Level.SEVERE: 50}


def rounded_for_privacy(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads exact numbers; what the student ever gets, now and in use, is rounded so as to tell less."""

    def before(session: Session) -> None:
        session.student.register_forward_pre_hook(lambda _student, inputs: inputs[0] - inputs[0] % TOGETHER[level])

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (rows_and_not_positions_masked,),
    "KD803": (windows_joined_with_their_overlap,),
    "KD804": (beyond_the_end_is_the_last_token,),
    "KD805": (stripped_by_the_teachers_tokenizer,),
    "KD806": (blocks_that_know_of_no_other,),
    "KD810": (best_of_many_by_its_own_score,),
    "KD811": (rounded_for_privacy,),
}
