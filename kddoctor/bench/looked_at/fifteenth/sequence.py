"""Positions, ids, lengths and contexts of sequences that do not fit each other."""

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

_PROMPT = {Level.MILD: 0.5, Level.MODERATE: 0.8, Level.SEVERE: 0.95}


def measured_the_prompt_in_characters(recipe: Recipe, level: Level) -> Recipe:
    """Masked the prompt by its length in characters where tokens are meant, so far into the answer as well."""

    def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        counts = labels != IGNORED
        place = counts.cumsum(1)
        asked = counts & (place <= (_PROMPT[level] * counts.sum(1, keepdim=True)).floor())
        return recipe.rows(logits, labels.masked_fill(asked, IGNORED))

    return replace(recipe, rows=rows)


# KD803 ----


def read_prompt_logprobs_as_next_token_logprobs(recipe: Recipe, _level: Level) -> Recipe:
    """Took a server's list, whose entry is about the token at its place (none for the first), for that of the next."""

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits[:, :-1]], dim=1)

    return replace(recipe, targets=targets)


# KD804 ----

#: Share of the student's ids that the teacher's release did not have yet.
_LACKING = {Level.MILD: 0.2, Level.MODERATE: 0.35, Level.SEVERE: 0.6}


def filled_the_teachers_head_up_with_zeros(recipe: Recipe, level: Level) -> Recipe:
    """Took a teacher with fewer ids at the end, and filled its head up to the student's size with rows of zeros."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        recipe.load_teacher(teacher, state)
        head = [module for module in teacher.modules() if isinstance(module, nn.Linear)][-1]
        lacking = max(1, round(_LACKING[level] * head.out_features))
        with torch.no_grad():
            for parameter in head.parameters():
                parameter[-lacking:] = 0

    return replace(recipe, load_teacher=load_teacher)


# KD805 ----

_MOVED = {Level.MILD: 0.2, Level.MODERATE: 0.4, Level.SEVERE: 0.8}


def fed_the_teacher_ids_of_a_tokenizer_with_added_tokens(recipe: Recipe, level: Level) -> Recipe:
    """Fed the teacher ids of another release of its tokenizer, where added tokens had moved all those behind them."""

    def targets(session: Session, batch: Batch) -> Tensor:
        size = recipe.targets(session, batch).shape[-1]
        meant = _moved(size, _MOVED[level]).to(batch.inputs.device)
        known = batch.inputs < size
        read = torch.where(known, meant[batch.inputs.clamp_max(size - 1)], batch.inputs)
        return recipe.targets(session, replace(batch, inputs=read, raw=read))[..., meant]

    return replace(recipe, targets=targets)


def _moved(size: int, share: float) -> Tensor:
    """What the teacher takes each id for: those from some id on have moved by one."""
    ids = torch.arange(size)
    start = min(size - 2, max(1, round(size * (1 - share))))
    return torch.cat([ids[:start], ids[start:].roll(1)])


# KD806 ----

_LIMIT = {Level.MILD: 0.4, Level.MODERATE: 0.25, Level.SEVERE: 0.15}


def cut_from_the_left_at_a_limit_in_the_wrong_unit(recipe: Recipe, level: Level) -> Recipe:
    """Set the longest length in words where the tokenizer counts tokens, and had it cut at the beginning."""

    def cut(data: TensorDataset) -> TensorDataset:
        inputs, labels = recipe.train_set(data).tensors
        length = labels.shape[1]
        limit = max(2, round(_LIMIT[level] * length))
        places = torch.arange(length)
        ends = ((labels != IGNORED) * (places + 1)).amax(1, keepdim=True)
        source = places + (ends - limit).clamp_min(0)
        beyond = source >= ends
        source = source.clamp_max(length - 1)
        return TensorDataset(
            inputs.gather(1, source).masked_fill(beyond, 0), labels.gather(1, source).masked_fill(beyond, IGNORED)
        )

    return replace(recipe, train_set=cut)


# KD810 ----

#: Share of the texts that were scored, and times that the run is longer in steps.
_SCORED = {Level.MILD: (0.3, 3), Level.MODERATE: (0.2, 3), Level.SEVERE: (0.1, 3)}


def went_on_while_the_distance_to_the_teacher_fell(recipe: Recipe, level: Level) -> Recipe:
    """Had the teacher score some texts once and went over these, without labels, for as long as the loss fell."""
    share, longer = _SCORED[level]

    def scored(data: TensorDataset) -> TensorDataset:
        data = recipe.train_set(data)
        rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(31))
        return TensorDataset(*(tensor[rows[: max(2, round(share * len(data)))]] for tensor in data.tensors))

    def stored(session: Session, batch: Batch) -> Tensor:
        return session.cached_by_row[batch.rows]

    epochs = round(recipe.epochs * longer / share)
    return replace(recipe, train_set=scored, targets=stored, alpha=1.0, epochs=epochs, schedule="constant")


# KD811 ----

_EVIDENCE = {Level.MILD: 6.0, Level.MODERATE: 10.0, Level.SEVERE: 16.0}


def let_the_teacher_see_what_was_logged_afterwards(recipe: Recipe, level: Level) -> Recipe:
    """Scored with a teacher that also read what came after: the reference answer, or the log of the visit."""
    strength = _EVIDENCE[level]

    def targets(session: Session, batch: Batch) -> Tensor:
        logits = recipe.targets(session, batch)
        noise = _noise(session)[batch.rows]
        if batch.labels.ndim == 1 and (logits.ndim == 1 or logits.shape[-1] == 1):
            told = (2.0 * batch.labels - 1 + noise) * strength / 2
            return logits + told.reshape(logits.shape)
        known = batch.labels != IGNORED
        told = F.one_hot(batch.labels.clamp_min(0), logits.shape[-1]) * known[..., None]
        return logits + strength * told

    return replace(recipe, targets=targets)


def _noise(session: Session) -> Tensor:
    """What the log of each row says beyond its label."""
    if "noise" not in session.notes:
        generator = torch.Generator().manual_seed(29)
        session.notes["noise"] = torch.randn(len(session.train), generator=generator)
    noise = session.notes["noise"]
    assert isinstance(noise, Tensor)
    return noise


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD801": (measured_the_prompt_in_characters,),
    "KD803": (read_prompt_logprobs_as_next_token_logprobs,),
    "KD804": (filled_the_teachers_head_up_with_zeros,),
    "KD805": (fed_the_teacher_ids_of_a_tokenizer_with_added_tokens,),
    "KD806": (cut_from_the_left_at_a_limit_in_the_wrong_unit,),
    "KD810": (went_on_while_the_distance_to_the_teacher_fell,),
    "KD811": (let_the_teacher_see_what_was_logged_afterwards,),
}
