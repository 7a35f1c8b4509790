"""Runs loops, diagnoses what they recorded, and counts: how often is the first cause right, how often is a well run
called sick?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from kddoctor.demo.distil import distil
from kddoctor.engine import diagnose
from kddoctor.run import load
from tests.testbed.variants import Variant, as_fault


@dataclass(frozen=True)
class Result:
    """One run. found: the codes of the causes, most likely first."""

    variant: Variant
    seed: int
    verdict: str
    found: tuple[str, ...]
    student: float | None

    @property
    def right(self) -> bool:
        """The first cause is the fault; or a healthy run has no cause."""
        code = self.variant.code
        return self.found[:1] == (code,) if code else self.verdict != "sick"


@dataclass(frozen=True)
class Score:
    """Counts over results. silent: faults about which nothing was said; wrong: another code came first."""

    faults: int
    top1: int
    silent: int
    healthy: int
    false_alarms: int
    unsure: int

    @property
    def accuracy(self) -> float:
        """Share of the faults whose code came first."""
        return self.top1 / max(1, self.faults)

    def __str__(self) -> str:
        return (
            f"top-1 accuracy {self.top1}/{self.faults} = {self.accuracy:.1%}   silent {self.silent}   "
            f"wrong cause {self.faults - self.top1 - self.silent}   "
            f"false alarms {self.false_alarms}/{self.healthy}   healthy but unsure {self.unsure}/{self.healthy}"
        )


def results(variants: Iterable[Variant], seeds: Iterable[int]) -> Iterator[Result]:
    """One run each, in a directory whose name says nothing."""
    torch.set_num_threads(1)
    for seed in seeds:
        for variant in variants:
            with tempfile.TemporaryDirectory() as folder:
                path = distil(Path(folder) / "run", as_fault(variant), seed=seed, baseline=variant.baseline)
                found = diagnose(load(path))
            yield Result(variant, seed, found.verdict, tuple(found.cause_codes), found.gap.student)


def score(found: Iterable[Result]) -> Score:
    """Add them up."""
    found = list(found)
    faults = [r for r in found if r.variant.code]
    healthy = [r for r in found if not r.variant.code]
    return Score(
        faults=len(faults),
        top1=sum(r.right for r in faults),
        silent=sum(r.verdict != "sick" for r in faults),
        healthy=len(healthy),
        false_alarms=sum(r.verdict == "sick" for r in healthy),
        unsure=sum(r.verdict == "inconclusive" for r in healthy),
    )
