"""The numbers behind the live temperature slider: one middling example's logits."""

import math
from dataclasses import dataclass

import numpy as np

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import class_rows
from kddoctor.report.views.examples import Examples
from kddoctor.report.views.soft_targets_of import soft_targets_of
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run

#: Classes whose bars are shown, and classes beyond which the logits would fill the page.
BARS, MOST_CLASSES = 8, 2000
#: Ends of the slider, as powers of two.
LOWEST, HIGHEST = -1.0, 5.0


@dataclass(frozen=True)
class Slider:
    """view: the example at T = 1 and at the run's T. logits: the teacher's, all classes. rows: classes with bars, each
    with its name and its probability at the run's temperature. log2: where the slider stands.
    """

    view: View
    temperature: float
    logits: tuple[float, ...]
    rows: tuple[tuple[int, str, float], ...]
    label: str

    @property
    def log2(self) -> float:
        """Of the temperature, within the slider's range."""
        return min(max(math.log2(self.temperature), LOWEST), HIGHEST)


def slider_of(run: Run, examples: Examples | Missing, temperature: float | None) -> Slider | None:
    """Of the held-out example whose teacher is as sure as the median; None for vocabularies too large for a page."""
    part = run.predictions(held_out_split(run))
    if isinstance(examples, Missing) or examples.classes > MOST_CLASSES:
        return None
    if part is None or part.teacher_logits is None:
        return None
    order = np.argsort(examples.teacher.confidence, kind="stable")
    at = int(order[len(order) // 2])
    row, place = int(examples.row[at]), int(examples.place[at])
    t = temperature or 1.0
    view = soft_targets_of(run, row, sorted({1.0, t}), place=place)
    if isinstance(view, Missing):
        return None
    one = slice(row, row + 1)
    logits, _ = class_rows(run.manifest, part.teacher_logits[one], part.labels[one])
    listed = view.frame[view.frame["temperature"] == t].head(BARS)
    return Slider(
        view=view,
        temperature=t,
        # Four decimals move no probability by more than one part in ten thousand.
        logits=tuple(round(float(z), 4) for z in logits[min(place, len(logits) - 1)]),
        rows=tuple(zip(listed["class"].tolist(), listed["name"], listed["teacher"].tolist(), strict=True)),
        label=str(view.frame.loc[view.frame["is_label"], "name"].iloc[0]),
    )
