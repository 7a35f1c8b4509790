"""What any judge is given of a run, and what it answers: the common ground of kddoctor, its ablations and baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The truth of a fault outside the catalogue.
OUTSIDE = ("?",)


@dataclass(frozen=True)
class Example:
    """One run. truth: its codes, none of a healthy run, ``OUTSIDE`` of a fault that no code names.

    features: numbers by name, NaN where not measured. metrics: the rows of metrics.jsonl. config: the manifest's
    distillation and training, flattened; twin_config: those of the healthy twin.
    """

    run: str
    task: str
    truth: tuple[str, ...]
    features: Mapping[str, float]
    metrics: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    twin_config: Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """ranked: codes, most likely first. confidence: that the verdict and the first code are right."""

    sick: bool
    ranked: tuple[str, ...]
    confidence: float


Judge = Callable[[Example], Judgement]
#: From examples whose truth is known to a judge of others.
Fit = Callable[[Sequence[Example]], Judge]
