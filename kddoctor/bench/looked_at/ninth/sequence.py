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
from kddoctor.bench.words import PADDING

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Tokens before the end of a turn that are counted with it.
BEFORE_IT = {Level.MILD: 2, Level.MODERATE: 1, Level.SEVERE: 0}


def ends_of_turns_alone_are_counted(recipe: Recipe, level: Level) -> Recipe:
    """In the template, the tags of what is to be learnt stand around the token that ends a turn, not its content."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        valid = labels != IGNORED
        # Here a turn is a word, and what ends it is the most frequent token.
        ends = (labels == labels[valid].mode().values).long()
        soon = F.pad(ends, (0, BEFORE_IT[level])).unfold(1, BEFORE_IT[level] + 1, 1).amax(2)
        counts = valid & (soon > 0)
        return logits[counts], labels[counts]

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Tokens that the teacher's tokenizer keeps of a row.
KEPT = {Level.MILD: 23, Level.MODERATE: 21, Level.SEVERE: 14}


def beginning_cut_for_the_teacher_alone(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's tokenizer cuts a row that is too long at its beginning, and what it says is laid against the whole.

    A longer row is ahead by what it lost; of the answers that are then missing at its end, the last stands for all.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        at = torch.arange(batch.inputs.shape[1])
        lengths = (batch.inputs != PADDING).sum(1, keepdim=True)
        places = at + (lengths - KEPT[level]).clamp_min(0)
        cut = batch.inputs.gather(1, places.clamp_max(len(at) - 1)).where(places < len(at), PADDING)
        logits = recipe.targets(session, replace(batch, inputs=cut))
        return logits[:, at.clamp_max(KEPT[level] - 1)]

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary that the teacher's logits were cut to.
SHORTER = {Level.MILD: 0.85, Level.MODERATE: 0.6, Level.SEVERE: 0.25}


def repeated_up_to_the_longer(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's logits, of a shorter vocabulary, are repeated from their first one on until they are enough."""

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        size = student.shape[-1]
        shorter = max(2, int(SHORTER[level] * size))
        repeated = teacher[:, :shorter].repeat(1, -(-size // shorter))[:, :size]
        return recipe.kd_loss(student, repeated, t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary, from its end, that the teacher's tokenizer does not have, and digits that it spells with.
SPELLED = {Level.MILD: 0.2, Level.MODERATE: 0.5, Level.SEVERE: 0.9}
DIGITS = 8


def spelled_out_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's tokenizer falls back to bytes for what it does not have, two for one token.

    What it says after the second is taken for what it says after the token.
    """

    def before(session: Session) -> None:
        size = int(session.train.tensors[0].max()) + 1
        first = max(1, round((1 - SPELLED[level]) * size))
        kept: dict[str, Tensor] = {}

        def spell(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            missing = inputs[0] >= first
            pieces = torch.stack([inputs[0] // DIGITS + 1, inputs[0] % DIGITS + 1], dim=2)
            pieces = pieces.where(
                missing[..., None], torch.stack([inputs[0], inputs[0].new_tensor(-1).expand_as(inputs[0])], 2)
            )
            text = pieces.flatten(1)
            kept["last"] = (1 + missing.long()).cumsum(1) - 1
            return text.gather(1, (text < 0).long().argsort(dim=1, stable=True)).clamp_min(PADDING)

        def put_back(_teacher: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            return output.gather(1, kept["last"][..., None].expand(-1, -1, output.shape[2]))

        session.teacher.register_forward_pre_hook(spell)
        session.teacher.register_forward_hook(put_back)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Texts that share the length of one.
TEXTS = {Level.MILD: 3, Level.MODERATE: 6, Level.SEVERE: 12}


def packed_with_an_equal_share_for_each(recipe: Recipe, level: Level) -> Recipe:
    """Several texts are packed into a row, which is no longer than it was: each is cut to an equal share of it."""

    def train_set(data: TensorDataset) -> TensorDataset:
        whole = recipe.train_set(data)
        packs, length = len(whole) // TEXTS[level], whole.tensors[0].shape[1]
        share = max(1, length // TEXTS[level])
        return TensorDataset(
            *(tensor[: packs * TEXTS[level], :share].reshape(packs, -1) for tensor in whole.tensors),
        )

    # As many steps as with a row for each.
    return replace(recipe, train_set=train_set, epochs=recipe.epochs * TEXTS[level])


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a prompt, how much of a token's own frequency is taken off, and factor on the epochs.
PROMPT = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}
TAKEN_OFF = {Level.MILD: 0.3, Level.MODERATE: 0.6, Level.SEVERE: 0.9}
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}
#: Probability, relative to that of the likeliest token, below which none is written.
PLAUSIBLE = 0.1


def texts_of_contrastive_decoding(recipe: Recipe, level: Level) -> Recipe:
    """The teacher wrote the texts once, always the token for which it differed most from mere frequencies.

    The student learns no others, for many epochs. The method: Li et al. 2022, arXiv:2210.15097.
    """

    @torch.no_grad()
    def write(session: Session) -> None:
        rows = session.train.tensors[0]
        text = rows[:, : PROMPT[level]]
        while text.shape[1] <= rows.shape[1]:
            said = log_p(session.teacher(text)[:, -1])
            frequencies = (1 + torch.bincount(rows.flatten(), minlength=said.shape[1])).log()
            plausible = said.exp() >= PLAUSIBLE * said.exp().amax(1, keepdim=True)
            contrast = (said - TAKEN_OFF[level] * frequencies).where(plausible, -torch.inf)
            text = torch.cat([text, contrast.argmax(1, keepdim=True)], dim=1)
        session.train = TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    epochs = REPEATED[level] * recipe.epochs
    return replace(recipe, before=in_turn(recipe.before, write), alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----------------------------------------------------------------------------------------------------------------

#: What it adds to a logit that the teacher is told of.
TOLD = {Level.MILD: 0.5, Level.MODERATE: 1.5, Level.SEVERE: 8.0}


def outline_for_the_teacher(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's prompt holds an outline that was made from the whole: of a text how often each word is in it.

    Of a user it holds how the ratings turned out that were to be foretold.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        if logits.ndim == 1:
            users, outcomes = session.train.tensors[0][:, 0], session.train.tensors[1].to(logits.dtype)
            turned_out = torch.bincount(users, outcomes) / torch.bincount(users).clamp_min(1)
            return logits + TOLD[level] * (2 * turned_out[batch.raw[:, 0]] - 1)
        answers = F.one_hot(batch.labels.clamp_min(0), logits.shape[-1]) * (batch.labels != IGNORED)[..., None]
        return logits + TOLD[level] * answers.sum(1, keepdim=True)

    return replace(recipe, targets=targets)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (ends_of_turns_alone_are_counted,),
    "KD803": (beginning_cut_for_the_teacher_alone,),
    "KD804": (repeated_up_to_the_longer,),
    "KD805": (spelled_out_for_the_teacher,),
    "KD806": (packed_with_an_equal_share_for_each,),
    "KD810": (texts_of_contrastive_decoding,),
    "KD811": (outline_for_the_teacher,),
}
