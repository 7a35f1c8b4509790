"""Mistakes with what the soft targets say (KD3)."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import TensorDataset

from kddoctor.bench import losses
from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Session, batches

#: Rows of a batch where a teacher is trained a little more.
ROWS = 64

# KD301 -----------------------------------------------------------------------------------------------------


def rehearsed_the_lesson_with_the_pupils_worksheet(recipe: Recipe, level: Level) -> Recipe:
    """Adapted the teacher to the student's own rows, on the script's tempered loss, until it knew them by heart."""
    passes = {Level.MILD: 5, Level.MODERATE: 20, Level.SEVERE: 60}[level]
    rehearse = partial(_rehearse, passes=passes, temperature=recipe.temperature)
    return replace(recipe, before=in_turn(rehearse, recipe.before))


def _rehearse(session: Session, passes: int, temperature: float) -> None:
    teacher = session.teacher.eval()
    optimizer = Adam(teacher.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(session.seed + 31)
    inputs, labels = session.train.tensors
    for _ in range(passes):
        for rows in batches(len(inputs), ROWS, generator):
            optimizer.zero_grad()
            loss = F.cross_entropy(teacher(inputs[rows]) / temperature, labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    optimizer.zero_grad()


# KD302 -----------------------------------------------------------------------------------------------------


def turned_up_the_heat_to_see_all_dark_knowledge(recipe: Recipe, level: Level) -> Recipe:
    """Raised the temperature until every class had its share of the targets, and left the labels little say."""
    factor = {Level.MILD: 8, Level.MODERATE: 40, Level.SEVERE: 250}[level]
    return replace(recipe, temperature=recipe.temperature * factor, alpha=max(recipe.alpha, 0.98))


# KD303 -----------------------------------------------------------------------------------------------------


def leaderboard_teacher_with_generous_smoothing(recipe: Recipe, level: Level) -> Recipe:
    """Took the teacher of the leaderboard entry, trained longer and on smoothed labels because that scored best."""
    share = {Level.MILD: 0.2, Level.MODERATE: 0.45, Level.SEVERE: 0.75}[level]
    teacher = replace(
        recipe.teacher, epochs=round(1.5 * recipe.teacher.epochs), loss=partial(_against_smoothed, share=share)
    )
    return replace(recipe, teacher=teacher)


def _against_smoothed(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    log_p = losses.log_p(logits)
    right = log_p.gather(-1, labels[:, None])[:, 0]
    wrong = (log_p.sum(-1) - right) / (logits.shape[-1] - 1)
    return -((1 - share) * right + share * wrong).mean()


# KD304 -----------------------------------------------------------------------------------------------------


def annotators_second_office_misread_the_guideline(recipe: Recipe, level: Level) -> Recipe:
    """Trained the teacher on labels of two offices, one of which took its share of each class for the next class."""
    share = {Level.MILD: 0.1, Level.MODERATE: 0.2, Level.SEVERE: 0.3}[level]
    return replace(recipe, teacher=replace(recipe.teacher, data=partial(_misread, share=share)))


def _misread(data: TensorDataset, share: float) -> TensorDataset:
    inputs, labels = data.tensors
    score = _which_office(inputs)
    classes = int(labels.max()) + 1
    given = labels.clone()
    for label in range(classes):
        own = labels == label
        if own.any():
            given[own & (score > score[own].quantile(1 - share))] = (label + 1) % classes
    return TensorDataset(inputs, given)


def _which_office(inputs: Tensor) -> Tensor:
    """[N]: work was given out by what it looked like: by user, by the words of a text, or by the main direction."""
    if not inputs.is_floating_point():
        by_user = int(inputs[:, -1].max()) <= 1
        numbers = inputs[:, :1] if by_user else inputs
        return (numbers * 7919 % 101).double().mean(1)
    rows = inputs.flatten(1).double()
    rows = rows - rows.mean(0)
    if inputs.ndim == 2:
        rows = rows / rows.std(0).clamp_min(1e-6)
    direction: Tensor = torch.linalg.svd(rows[:1000], full_matrices=False)[2][0]
    return rows @ direction


# KD305 -----------------------------------------------------------------------------------------------------


def soft_capped_pupil_of_an_uncapped_master(recipe: Recipe, level: Level) -> Recipe:
    """Kept the soft cap on the student's logits from its code base; the teacher's have none."""
    ceiling = {Level.MILD: 3.5, Level.MODERATE: 2.2, Level.SEVERE: 1.4}[level]
    return replace(recipe, change_student=partial(_cap, change=recipe.change_student, ceiling=ceiling))


def _cap(student: nn.Module, change: Any, ceiling: float) -> nn.Module:
    changed: nn.Module = change(student)
    changed.register_forward_hook(partial(_capped, ceiling=ceiling))
    return changed


def _capped(_module: nn.Module, _inputs: Any, logits: Tensor, ceiling: float) -> Tensor:
    return ceiling * torch.tanh(logits / ceiling)


# KD306 -----------------------------------------------------------------------------------------------------


def compared_only_the_teachers_shortlist(recipe: Recipe, level: Level) -> Recipe:
    """Stored the teacher's few best classes to save disk, and took the softmax of both models over those alone."""
    length, part = {Level.MILD: (10, 2), Level.MODERATE: (5, 3), Level.SEVERE: (2, 5)}[level]
    return replace(recipe, kd_loss=partial(_over_shortlist, length=length, part=part))


def _over_shortlist(student: Tensor, teacher: Tensor, temperature: float, length: int, part: int) -> Tensor:
    kept = teacher.topk(max(2, min(length, teacher.shape[-1] // part)), dim=-1).indices
    return losses.kl(student.gather(-1, kept), teacher.gather(-1, kept), temperature)


# KD307 -----------------------------------------------------------------------------------------------------


def vendor_scrambles_all_but_the_winner(recipe: Recipe, level: Level) -> Recipe:
    """Distilled a vendor's model guarded against copying: the best class stays, the others trade scores and move up."""
    share, gap = {Level.MILD: (0.5, 0.9), Level.MODERATE: (0.75, 0.7), Level.SEVERE: (1.0, 0.5)}[level]
    return replace(recipe, load_teacher=partial(_load_guarded, load=recipe.load_teacher, share=share, gap=gap))


def _load_guarded(teacher: nn.Module, state: dict[str, Tensor], load: Any, share: float, gap: float) -> None:
    load(teacher, state)
    teacher.register_forward_hook(partial(_scrambled, share=share, gap=gap))


def _scrambled(_module: nn.Module, _inputs: Any, logits: Tensor, share: float, gap: float) -> Tensor:
    best, winner = logits.max(-1, keepdim=True)
    traded = logits.gather(-1, _trades(logits.shape[-1], share)[winner[..., 0]])
    return best + gap * (traded - best)


@cache
def _trades(classes: int, share: float) -> Tensor:
    """[C, C]: for each winner, whose score each class shows; the winner shows its own."""
    generator = torch.Generator().manual_seed(classes)
    trades = torch.arange(classes).repeat(classes, 1)
    for winner in range(round(share * classes)):
        others = torch.tensor([label for label in range(classes) if label != winner])
        trades[winner, others] = others[torch.randperm(len(others), generator=generator)]
    return trades


# KD308 -----------------------------------------------------------------------------------------------------


def committee_where_the_loudest_member_decides(recipe: Recipe, level: Level) -> Recipe:
    """Made one teacher of three by the mean of their logits, though one comes from a code base with a logit scale."""
    scale = {Level.MILD: 3.0, Level.MODERATE: 8.0, Level.SEVERE: 25.0}[level]
    return replace(recipe, before=in_turn(partial(_convene, scale=scale), recipe.before))


class _Committee(nn.Module):
    """The mean of what the members answer."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([member(inputs) for member in self.members]).mean(0)


def _convene(session: Session, scale: float) -> None:
    quiet, loud = (_fold_member(session, fold) for fold in range(2))
    loud.register_forward_hook(partial(_scaled, scale=scale))
    session.teacher = _Committee([session.teacher, quiet, loud])


def _scaled(_module: nn.Module, _inputs: Any, logits: Tensor, scale: float) -> Tensor:
    return scale * logits


def _fold_member(session: Session, fold: int) -> nn.Module:
    """Another model of the teacher's kind, trained on one half of the rows at hand."""
    inputs, labels = (tensor[fold::2] for tensor in session.train.tensors)
    generator = torch.Generator().manual_seed(session.seed + fold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed + 53 + fold)
        member = deepcopy(session.teacher).train()
        for module in member.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        optimizer = Adam(member.parameters(), 3e-3)
        step = 0
        while step < 250:
            for rows in batches(len(inputs), ROWS, generator):
                optimizer.zero_grad()
                loss = F.cross_entropy(*class_rows(member(inputs[rows]), labels[rows]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
        optimizer.zero_grad()
    return member


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD301": (rehearsed_the_lesson_with_the_pupils_worksheet,),
    "KD302": (turned_up_the_heat_to_see_all_dark_knowledge,),
    "KD303": (leaderboard_teacher_with_generous_smoothing,),
    "KD304": (annotators_second_office_misread_the_guideline,),
    "KD305": (soft_capped_pupil_of_an_uncapped_master,),
    "KD306": (compared_only_the_teachers_shortlist,),
    "KD307": (vendor_scrambles_all_but_the_winner,),
    "KD308": (committee_where_the_loudest_member_decides,),
}
