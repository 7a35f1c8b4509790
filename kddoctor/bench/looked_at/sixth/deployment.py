"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session
from kddoctor.bench.words import PADDING, UNKNOWN

# KD701 ----------------------------------------------------------------------------------------------------------------

#: Checkpoints that are kept.
LIMIT = {Level.MILD: 5, Level.MODERATE: 2, Level.SEVERE: 1}


def limit_that_keeps_the_oldest(recipe: Recipe, level: Level) -> Recipe:
    """A checkpoint an epoch, of which so many are kept: the newest are deleted, and the last that is left is loaded."""

    def save(session: Session) -> None:
        epoch = session.notes["epochs saved"] = session.notes.get("epochs saved", -1) + 1
        if epoch <= LIMIT[level]:
            session.notes["last file"] = deepcopy(session.student.state_dict())

    def load_last(session: Session) -> None:
        session.student.load_state_dict(session.notes["last file"])

    return replace(
        recipe,
        before_epoch=in_turn(recipe.before_epoch, save),
        after=in_turn(recipe.after, load_last),
    )


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Exponent by which a service darkens an image, and the first word number that is not on its list of stop words.
DARKENED = {Level.MILD: 1.8, Level.MODERATE: 3.0, Level.SEVERE: 8.0}
NO_STOP_WORD = {Level.MILD: 4, Level.MODERATE: 12, Level.SEVERE: 40}


def linear_light_and_no_stop_words(recipe: Recipe, level: Level) -> Recipe:
    """The service converts images to linear light, which darkens them, and drops stop words from texts."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        if given.is_floating_point():
            return given.clamp_min(0) ** DARKENED[level]
        return given.masked_fill((given > UNKNOWN) & (given < NO_STOP_WORD[level]), PADDING)

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: Share of a tensor's values that its range was to cover.
COVERED = {Level.MILD: 0.9, Level.MODERATE: 0.6, Level.SEVERE: 0.2}


def range_of_too_few_values(recipe: Recipe, level: Level) -> Recipe:
    """Eight bits for each weight, on a range that covers most values of its tensor: larger ones are cut back to it."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for weight in session.student.parameters():
            if weight.ndim > 1:
                largest = weight.abs().flatten().quantile(COVERED[level]).clamp_min(1e-12)
                weight.copy_((weight.clamp(-largest, largest) * 127 / largest).round() * largest / 127)

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Quantiles that a monitor takes of what each layer puts out.
QUANTILES = {Level.MILD: 3, Level.MODERATE: 7, Level.SEVERE: 21}
ALLOWED_MS = 0.2


def monitored_in_every_layer(recipe: Recipe, level: Level) -> Recipe:
    """Hooks that watch the distribution of each layer's outputs are still there in use, where every millisecond counts.

    The time that a batch may take was set for the plain student.
    """

    def watch(_layer: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            for share in torch.linspace(0, 1, QUANTILES[level]).tolist():
                output.detach().float().flatten().quantile(share)

    def export(session: Session) -> None:
        for layer in session.student.modules():
            layer.register_forward_hook(watch)

    return replace(recipe, after=in_turn(recipe.after, export), wanted={"latency_ms": ALLOWED_MS})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Views of a row, any of which may be a yes.
VIEWS = {Level.MILD: 2, Level.MODERATE: 4, Level.SEVERE: 20}


def yes_in_any_view(recipe: Recipe, level: Level) -> Recipe:
    """In use several views of a row are scored, and the answer is the chance that one of them at least is a yes.

    The threshold is the one of a single view; a view here is the row itself.
    """

    def any_of_the_views(_student: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        all_no = VIEWS[level] * F.softplus(logits.double())
        return (all_no + torch.log(-torch.expm1(-all_no))).to(logits.dtype)

    def export(session: Session) -> None:
        session.student.register_forward_hook(any_of_the_views)

    return replace(recipe, after=in_turn(recipe.after, export))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (limit_that_keeps_the_oldest,),
    "KD702": (linear_light_and_no_stop_words,),
    "KD703": (range_of_too_few_values,),
    "KD704": (monitored_in_every_layer,),
    "KD705": (yes_in_any_view,),
}
