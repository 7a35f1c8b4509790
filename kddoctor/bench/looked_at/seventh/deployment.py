"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.losses import log_p, p
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session, batches
from kddoctor.bench.words import PADDING, UNKNOWN

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows, and of the epochs, that a dry run took; its rate with Adam.
DRY_RUN = {Level.MILD: 0.5, Level.MODERATE: 0.2, Level.SEVERE: 0.05}
DRY_RUN_RATE = 1e-2


def newest_file_of_a_dry_run(recipe: Recipe, level: Level) -> Recipe:
    """The newest file of the folder is exported, and a dry run on a few rows was begun later, for a few epochs."""

    def keep(session: Session) -> None:
        session.notes["dry run"] = deepcopy(session.student)

    def load_newest(session: Session) -> None:
        dry_run = _trained(recipe, session, session.notes["dry run"], DRY_RUN[level])
        session.student.load_state_dict(dry_run.state_dict())

    return replace(recipe, before=in_turn(recipe.before, keep), after=in_turn(recipe.after, load_newest))


def _trained(recipe: Recipe, session: Session, student: nn.Module, share: float) -> nn.Module:
    """On the first rows alone, by their labels, for so many epochs; the loop's random numbers stay as they were."""
    few = max(2, round(share * len(session.train)))
    inputs, labels = (tensor[:few] for tensor in session.train.tensors)
    generator = torch.Generator().manual_seed(session.seed + 233)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.seed + 233)
        optimizer = Adam(student.train().parameters(), DRY_RUN_RATE)
        for _ in range(max(1, round(share * recipe.epochs))):
            for rows in batches(few, recipe.batch_size, generator):
                optimizer.zero_grad()
                loss = recipe.ce_loss(*recipe.rows(student(inputs[rows]), labels[rows]))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return student


# KD702 ----------------------------------------------------------------------------------------------------------------

#: How much a camera sharpens, and after how many words a tokenizer sets a piece that it does not know.
SHARPENED = {Level.MILD: 1.0, Level.MODERATE: 3.0, Level.SEVERE: 10.0}
WORDS_TO_A_PIECE = {Level.MILD: 8, Level.MODERATE: 3, Level.SEVERE: 1}


def sharpened_and_split_into_pieces(recipe: Recipe, level: Level) -> Recipe:
    """The camera in use sharpens its images; the service's tokenizer splits words, of which the end is unknown."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        if given.is_floating_point():
            blurred = F.avg_pool2d(given, 3, stride=1, padding=1, count_include_pad=False)
            return (given + SHARPENED[level] * (given - blurred)).clamp(0, 1)
        return _in_pieces(given, WORDS_TO_A_PIECE[level])

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


def _in_pieces(tokens: Tensor, words: int) -> Tensor:
    """An unknown piece after each so many words; what is beyond the length of a text is cut off."""
    places = torch.arange(tokens.shape[1])
    of_word = (places - places // (words + 1)).expand_as(tokens)
    pieces = tokens.gather(1, of_word)
    unknown = (places % (words + 1) == words) & (pieces != PADDING)
    return pieces.masked_fill(unknown, UNKNOWN)


# KD703 ----------------------------------------------------------------------------------------------------------------

#: What zero points are multiples of.
MULTIPLES = {Level.MILD: 6, Level.MODERATE: 32, Level.SEVERE: 128}


def zero_points_kept_in_few_bits(recipe: Recipe, level: Level) -> Recipe:
    """Eight bits for each weight, with a scale and a zero point for each channel, and that has a few bits only."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for weight in session.student.parameters():
            if weight.ndim > 1:
                channels = weight.flatten(1)
                least, largest = channels.aminmax(dim=1, keepdim=True)
                scale = ((largest - least) / 255).clamp_min(1e-12)
                zero = -least / scale
                codes = (channels / scale + zero).round().clamp(0, 255)
                kept = (zero / MULTIPLES[level]).round() * MULTIPLES[level]
                weight.copy_(((codes - kept) * scale).view_as(weight))

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Rows of a weight that are unpacked at once.
UNPACKED = {Level.MILD: 64, Level.MODERATE: 8, Level.SEVERE: 1}
ALLOWED_MS = 0.2


def weights_unpacked_for_each_call(recipe: Recipe, level: Level) -> Recipe:
    """To save memory weights lie packed, and are unpacked for each call, a few rows at a time; none of them changes.

    The time that a batch may take was set for the plain student.
    """

    def export(session: Session) -> None:
        packed = {name: weight.detach().clone() for name, weight in session.student.named_parameters()}

        @torch.no_grad()
        def unpack(student: nn.Module, _inputs: object) -> None:
            for name, weight in student.named_parameters():
                rows = zip(*(torch.split(w, UNPACKED[level]) for w in (weight, packed[name])), strict=True)
                for unpacked, stored in rows:
                    unpacked.copy_(stored)

        session.student.register_forward_pre_hook(unpack)

    return replace(recipe, after=in_turn(recipe.after, export), wanted={"latency_ms": ALLOWED_MS})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: What is taken off the probability of a yes.
TAKEN_OFF = {Level.MILD: 0.15, Level.MODERATE: 0.35, Level.SEVERE: 0.7}


def one_sided_smoothing_of_generators(recipe: Recipe, level: Level) -> Recipe:
    """Smoothing on one side, which steadies a discriminator: a yes is worth less than one, a no is worth nothing."""

    def kept(chances: Tensor) -> Tensor:
        yes = (1 - TAKEN_OFF[level]) * chances[:, 1]
        return torch.stack([1 - yes, yes], dim=1)

    def kd_loss(student: Tensor, teacher: Tensor, t: float) -> Tensor:
        return F.kl_div(log_p(student / t), kept(p(teacher / t)), reduction="batchmean") * t * t

    def ce_loss(student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, kept(F.one_hot(labels, 2).to(student.dtype)))

    return replace(recipe, kd_loss=kd_loss, ce_loss=ce_loss)


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (newest_file_of_a_dry_run,),
    "KD702": (sharpened_and_split_into_pieces,),
    "KD703": (zero_points_kept_in_few_bits,),
    "KD704": (weights_unpacked_for_each_call,),
    "KD705": (one_sided_smoothing_of_generators,),
}
