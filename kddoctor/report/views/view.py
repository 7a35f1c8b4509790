"""What report and app show alike: the numbers of a picture, its question, its answer, and words for a screen reader."""

from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd


class Event(NamedTuple):
    """Something that happened at one training step. kind: a key of ``training_events.GLYPHS``. text: for people."""

    step: float
    kind: str
    text: str


@dataclass(frozen=True)
class View:
    """One picture or table, without a word on how it is drawn.

    name: of the view, as a file name would have it. question: what a reader wants to know. answer: one sentence or two,
    whose numbers are those of ``frame`` and ``marks``. alt: what a picture of it shows, for screen readers. frame: tidy
    numbers, a row an observation. marks: single numbers that a picture points at (this run's temperature, a target).
    notes: what limits the answer (rows that were sampled, numbers that are estimates). events: moments that a picture
    over the training steps marks, in their order.
    """

    name: str
    question: str
    answer: str
    alt: str
    frame: pd.DataFrame
    marks: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def caption(self) -> str:
        """The question, then its answer."""
        return f"{self.question} {self.answer}"


@dataclass(frozen=True)
class Missing:
    """A view that this record cannot fill. needs: what to record, as a line that can be followed."""

    name: str
    question: str
    needs: str
