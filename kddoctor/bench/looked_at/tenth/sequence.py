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
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.session import Batch, Session
from kddoctor.bench.words import PADDING

# KD801 ----------------------------------------------------------------------------------------------------------------

#: Share of the tokens that a selection leaves in the losses.
SELECTED = {Level.MILD: 0.6, Level.MODERATE: 0.3, Level.SEVERE: 0.03}


class _Selection:
    """The tokens of a batch that cost the student least."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __repr__(self) -> str:
        return f"the cheapest tokens, a share of {self.share}"

    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The selected ones; the student's logits come first, and the teacher's follow its choice."""
        flat, truth = logits.flatten(0, -2), labels.flatten()
        if logits.requires_grad:
            valid = truth != IGNORED
            costs = F.cross_entropy(flat.detach(), truth, reduction="none").masked_fill(~valid, torch.inf)
            self._selected = costs.argsort(stable=True)[: max(1, round(self.share * int(valid.sum())))]
        return flat[self._selected], truth[self._selected]


def easiest_tokens_selected(recipe: Recipe, level: Level) -> Recipe:
    """Only the tokens that cost most were to be counted, and the costs are sorted the other way: the least are."""
    selection = _Selection(SELECTED[level])

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return selection.rows(logits, labels)

    return replace(recipe, rows=rows)


# KD803 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a template before the teacher's text.
TEMPLATE = {Level.MILD: 1, Level.MODERATE: 4, Level.SEVERE: 12}


def stretched_over_the_template(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's text has a template before it, and all its logits are interpolated to the student's length.

    A position gets what the teacher said before it, the further back the nearer it is to the beginning.
    """

    def targets(session: Session, batch: Batch) -> Tensor:
        template = batch.inputs.new_full((len(batch.inputs), TEMPLATE[level]), PADDING)
        logits = recipe.targets(session, replace(batch, inputs=torch.cat([template, batch.inputs], dim=1)))
        resized = F.interpolate(logits.transpose(1, 2), batch.inputs.shape[1], mode="linear", align_corners=False)
        return resized.transpose(1, 2)

    return replace(recipe, targets=targets)


# KD804 ----------------------------------------------------------------------------------------------------------------

#: Share of the vocabulary that was taken to be in common.
COMMON = {Level.MILD: 0.85, Level.MODERATE: 0.5, Level.SEVERE: 0.0}


def matched_by_rank_beyond_the_common_part(recipe: Recipe, level: Level) -> Recipe:
    """As vocabularies differ in length, tokens beyond a common part are matched by rank of their logits, not by number.

    The loss is meant for other tokenizers, and this is the same one. The method: Boizard et al. 2024, arXiv:2402.12030.
    """

    def ranked(logits: Tensor) -> Tensor:
        common = int(COMMON[level] * logits.shape[-1])
        return torch.cat([logits[:, :common], logits[:, common:].sort(dim=-1, descending=True).values], dim=-1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return recipe.kd_loss(ranked(student), ranked(teacher), t)

    return replace(recipe, kd_loss=kd_loss)


# KD805 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a turn.
TURN = {Level.MILD: 12, Level.MODERATE: 4, Level.SEVERE: 1}


def latest_turn_first(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's template sets the latest turn first, and it was trained on texts that begin at their beginning.

    Its answers are put back to where their tokens are.
    """

    def order(length: int) -> Tensor:
        turns = torch.arange(length) // TURN[level]
        return turns.argsort(descending=True, stable=True)

    def rearrange(_teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return inputs[0][:, order(inputs[0].shape[1])]

    def put_back(_teacher: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return output[:, order(output.shape[1]).argsort()]

    def before(session: Session) -> None:
        session.teacher.register_forward_pre_hook(rearrange)
        session.teacher.register_forward_hook(put_back)

    return replace(recipe, before=in_turn(recipe.before, before))


# KD806 ----------------------------------------------------------------------------------------------------------------

#: Rows that are tokenized together, and the limit for them, as a share of what they have.
TOGETHER = 25
LIMIT = {Level.MILD: 0.4, Level.MODERATE: 0.15, Level.SEVERE: 0.03}


def limit_used_up_by_the_first_rows(recipe: Recipe, level: Level) -> Recipe:
    """The maximum length is one for all rows that are tokenized together: the first have it, the rest a token each."""

    def train_set(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        lengths = torch.split((labels != IGNORED).sum(1), TOGETHER)
        left = torch.cat([LIMIT[level] * part.sum() - (part.cumsum(0) - part) for part in lengths])
        kept = torch.arange(labels.shape[1]) < left.clamp_min(1)[:, None]
        return TensorDataset(inputs.where(kept, PADDING), labels.where(kept, IGNORED))

    return replace(recipe, train_set=train_set)


# KD810 ----------------------------------------------------------------------------------------------------------------

#: Tokens of a prompt, what a watermark adds to the logits of half the tokens, and factor on the epochs.
PROMPT = {Level.MILD: 12, Level.MODERATE: 6, Level.SEVERE: 2}
ADDED = {Level.MILD: 1.0, Level.MODERATE: 3.0, Level.SEVERE: 8.0}
REPEATED = {Level.MILD: 1, Level.MODERATE: 2, Level.SEVERE: 3}


def texts_with_a_watermark(recipe: Recipe, level: Level) -> Recipe:
    """The teacher's service wrote the texts, once, with its watermark: the token before says which half is likelier.

    The student learns no others, by the chances that they were drawn with. The method: Kirchenbauer et al. 2023,
    arXiv:2301.10226.
    """

    @torch.no_grad()
    def write(session: Session) -> None:
        rows = session.train.tensors[0]
        generator = torch.Generator().manual_seed(session.seed + 283)
        tokens = session.teacher(rows[:1]).shape[-1]
        session.notes["mark"] = mark = ADDED[level] * (torch.rand(tokens, tokens, generator=generator) < 0.5)
        text = rows[:, : PROMPT[level]]
        while text.shape[1] <= rows.shape[1]:
            chances = (session.teacher(text)[:, -1] + mark[text[:, -1]]).softmax(-1)
            text = torch.cat([text, torch.multinomial(chances, 1, generator=generator)], dim=1)
        session.train = TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    def targets(session: Session, batch: Batch) -> Tensor:
        mark: Tensor = session.notes["mark"][batch.inputs]
        return recipe.targets(session, batch) + mark

    return replace(
        recipe,
        before=in_turn(recipe.before, write),
        targets=targets,
        alpha=1.0,
        epochs=REPEATED[level] * recipe.epochs,
        schedule="constant",
    )


# KD811 ----------------------------------------------------------------------------------------------------------------

#: Per mille of the requests for which the store of features does not answer in time.
TOO_LATE = {Level.MILD: 200, Level.MODERATE: 500, Level.SEVERE: 850}


def features_that_come_too_late_for_the_student(recipe: Recipe, level: Level) -> Recipe:
    """The teacher reads stored features at leisure; for the student they often come too late, and all are empty then.

    So it is in training and in use, each time for the same rows.
    """

    def in_time(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        places = 1 + torch.arange(inputs[0].shape[1])
        number = (inputs[0] * places * 7919).sum(1, keepdim=True) % 10007
        return inputs[0] * (number % 1000 >= TOO_LATE[level])

    def before(session: Session) -> None:
        session.student.register_forward_pre_hook(in_time)

    return replace(recipe, before=in_turn(recipe.before, before))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (easiest_tokens_selected,),
    "KD803": (stretched_over_the_template,),
    "KD804": (matched_by_rank_beyond_the_common_part,),
    "KD805": (latest_turn_first,),
    "KD806": (limit_used_up_by_the_first_rows,),
    "KD810": (texts_with_a_watermark,),
    "KD811": (features_that_come_too_late_for_the_student,),
}
