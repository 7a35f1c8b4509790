"""Mistakes of the codes KD7xx."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Edit, Level
from kddoctor.bench.in_turn import in_turn
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.session import Session
from kddoctor.bench.words import UNKNOWN

# KD701 ----------------------------------------------------------------------------------------------------------------

#: What the differences are multiplied by when they are merged.
SCALE = {Level.MILD: 0.7, Level.MODERATE: 0.35, Level.SEVERE: 0.08}


def differences_merged_at_another_scale(recipe: Recipe, level: Level) -> Recipe:
    """Only differences from the first weights are saved, and the export merges them at a scale left at its default."""

    def keep(session: Session) -> None:
        session.notes["first weights"] = deepcopy(dict(session.student.named_parameters()))

    @torch.no_grad()
    def merge(session: Session) -> None:
        for name, weight in session.student.named_parameters():
            weight.copy_(torch.lerp(session.notes["first weights"][name], weight, SCALE[level]))

    return replace(recipe, before=in_turn(recipe.before, keep), after=in_turn(recipe.after, merge))


# KD702 ----------------------------------------------------------------------------------------------------------------

#: Brightness of an image's frame, of one pixel, and share of a text that is its header.
FRAME = {Level.MILD: 0.25, Level.MODERATE: 0.5, Level.SEVERE: 1.0}
HEADER = {Level.MILD: 0.1, Level.MODERATE: 0.3, Level.SEVERE: 0.7}


def framed_and_with_a_header(recipe: Recipe, level: Level) -> Recipe:
    """In use images come with a bright frame from the scanner, texts with a header, which pushes off their ends."""

    def prepare(_student: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        given = inputs[0]
        if given.is_floating_point():
            framed = torch.full_like(given, FRAME[level])
            framed[..., 1:-1, 1:-1] = given[..., 1:-1, 1:-1]
            return framed
        length = max(1, round(HEADER[level] * given.shape[1]))
        # The same common words each time.
        header = torch.arange(UNKNOWN + 1, UNKNOWN + 1 + length).expand(len(given), -1)
        return torch.cat([header, given[:, : given.shape[1] - length]], dim=1)

    def serve(session: Session) -> None:
        session.student.register_forward_pre_hook(prepare)

    return replace(recipe, after=in_turn(recipe.after, serve))


# KD703 ----------------------------------------------------------------------------------------------------------------

#: The code that stands for zero.
ZERO = {Level.MILD: 80, Level.MODERATE: 40, Level.SEVERE: 0}


def bytes_without_room_for_negatives(recipe: Recipe, level: Level) -> Recipe:
    """Weights are stored in unsigned bytes, as activations are, with too low a code for zero: what is below it goes."""

    @torch.no_grad()
    def quantise(session: Session) -> None:
        for weight in session.student.parameters():
            if weight.ndim > 1:
                step = weight.abs().max().clamp_min(1e-12) / 127
                codes = ((weight / step).round() + ZERO[level]).clamp(0, 255)
                weight.copy_((codes - ZERO[level]) * step)

    return replace(recipe, after=in_turn(recipe.after, quantise))


# KD704 ----------------------------------------------------------------------------------------------------------------

#: Earlier requests among which each new one is looked for.
EARLIER = {Level.MILD: 50, Level.MODERATE: 500, Level.SEVERE: 5000}
ALLOWED_MS = 0.2


def looked_for_among_earlier_requests(recipe: Recipe, level: Level) -> Recipe:
    """To save time each row is looked for among earlier ones, one by one, which takes longer than to answer it.

    The time that a batch may take was set for the plain student.
    """

    def export(session: Session) -> None:
        inputs = session.train.tensors[0]
        earlier = inputs[torch.arange(EARLIER[level]) % len(inputs)]

        def look(_student: nn.Module, given: tuple[Tensor, ...]) -> None:
            for row in given[0]:
                (earlier[:, : len(row)] == row).flatten(1).all(1).nonzero()

        session.student.register_forward_pre_hook(look)

    return replace(recipe, after=in_turn(recipe.after, export), wanted={"latency_ms": ALLOWED_MS})


# KD705 ----------------------------------------------------------------------------------------------------------------

#: Share of the rows that are below the shortlist.
BELOW = {Level.MILD: 0.65, Level.MODERATE: 0.85, Level.SEVERE: 0.99}


def relative_to_where_the_shortlist_begins(recipe: Recipe, level: Level) -> Recipe:
    """The export gives scores relative to where a shortlist begins, and in use all above zero still counts as a yes."""

    def export(session: Session) -> None:
        with torch.no_grad():
            begins = float(session.student.eval()(session.train.tensors[0]).quantile(BELOW[level]))
        session.student.register_forward_hook(lambda _student, _inputs, logits: logits - begins)

    return replace(recipe, after=in_turn(recipe.after, export))


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "KD701": (differences_merged_at_another_scale,),
    "KD702": (framed_and_with_a_header,),
    "KD703": (bytes_without_room_for_negatives,),
    "KD704": (looked_for_among_earlier_requests,),
    "KD705": (relative_to_where_the_shortlist_begins,),
}
