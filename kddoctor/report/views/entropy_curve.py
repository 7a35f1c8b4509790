"""How much the teacher's soft targets say at each temperature, and where this run stands on that curve."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.engine.reading import classes
from kddoctor.probes.entropy_sweep import EntropySweep
from kddoctor.report.views.target_rows import sampled_targets, target_temperature
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run

QUESTION = "Is the teacher's signal soft enough?"
#: Quarter octaves from 0.5 to 32: every temperature's half is on the grid, which the sweep uses.
TEMPERATURES = tuple(2.0 ** (step / 4) for step in range(-4, 21))
#: Rows that the curve is drawn from.
SAMPLE = 2000
#: Share of the largest possible entropy that targets should have (as in the fix of KD301).
SWEET = (0.3, 0.6)
#: Shares of the rows between which the band lies.
BAND = (0.1, 0.9)


def entropy_curve(run: Run, measured: Mapping[type, object]) -> View | Missing:
    """Entropy (nats) and mass outside the top class of softmax(z / T), by T, on at most 2,000 training rows.

    frame: temperature, entropy, entropy_low, entropy_high (median and 10-90 % of the rows), share_of_largest (of the
    median), outside_top (median). marks: temperature, entropy, outside_top of this run where its T is known; sweet_low
    and sweet_high, the temperatures whose median is 30 to 60 % of the largest entropy. measured: from ``measure``.
    """
    found = sampled_targets(run, SAMPLE)
    if found is None:
        needs = "record the teacher's logits in predictions/train.safetensors (train_data=… of kddoctor.record)"
        return Missing("entropy_curve", QUESTION, needs)
    temperature = target_temperature(run, measured)
    grid = sorted({*TEMPERATURES, *([temperature] if temperature else [])})
    entropy, outside = _sweep(found.logits, grid)
    largest = float(np.log(classes(run.manifest)))
    frame = pd.DataFrame(
        {
            "temperature": grid,
            "entropy": np.median(entropy, axis=1),
            "entropy_low": np.quantile(entropy, BAND[0], axis=1),
            "entropy_high": np.quantile(entropy, BAND[1], axis=1),
            "share_of_largest": np.median(entropy, axis=1) / largest,
            "outside_top": np.median(outside, axis=1),
        }
    )
    marks = _marks(frame, temperature)
    return View(
        "entropy_curve",
        QUESTION,
        _answer(frame, marks),
        _alt(frame, marks),
        frame,
        marks,
        (
            f"{len(found.logits):,} of {found.of:,} rows of {found.source}.",
            "The shaded temperatures leave 30 to 60 % of the largest entropy, as the fix of KD301 aims at; they are "
            "a guide, not a limit.",
        ),
    )


def entropies(logits: NDArray[np.floating], grid: list[float]) -> NDArray[np.float64]:
    """[temperatures, rows] nats of softmax(z / T). logits: [rows, C]."""
    return _sweep(logits, grid)[0]


def _sweep(logits: NDArray[np.floating], grid: list[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(entropy, mass outside the top class), each [temperatures, rows]."""
    sweep = EntropySweep(grid, logits.shape[1])
    parts = []
    for start in range(0, len(logits), sweep.rows):
        block = logits[start : start + sweep.rows]
        sweep.load(block, block.argmax(axis=1))
        parts.append(sweep.measure(len(block)))
    entropy, top = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    return entropy, 1.0 - top


def _marks(frame: pd.DataFrame, temperature: float | None) -> dict[str, float]:
    marks: dict[str, float] = {}
    if temperature is not None:
        here = frame[frame["temperature"] == temperature].iloc[0]
        marks |= {name: float(here[name]) for name in ("temperature", "entropy", "share_of_largest", "outside_top")}
    sweet = frame.loc[frame["share_of_largest"].between(*SWEET), "temperature"]
    if len(sweet):
        marks |= {"sweet_low": float(sweet.min()), "sweet_high": float(sweet.max())}
    return marks


def _answer(frame: pd.DataFrame, marks: dict[str, float]) -> str:
    if "temperature" in marks:
        said = (
            f"At this run's T = {marks['temperature']:g} the median target has {marks['entropy']:.2f} nats, "
            f"{marks['share_of_largest']:.0%} of the most possible, and {marks['outside_top']:.1%} of its mass "
            "outside the top class."
        )
    else:
        first = frame.iloc[(frame["temperature"] - 1).abs().argmin()]
        said = f"No temperature is declared; at T = 1 the median target has {first['entropy']:.2f} nats."
    if "sweet_low" not in marks:
        return said
    low, high = f"{marks['sweet_low']:.1f}", f"{marks['sweet_high']:.1f}"
    return f"{said} The sweet spot is {f'about T = {low}' if low == high else f'T = {low} to {high}'}."


def _alt(frame: pd.DataFrame, marks: dict[str, float]) -> str:
    first, last = frame.iloc[0], frame.iloc[-1]
    at = f" A marker stands at this run's T = {marks['temperature']:g}." if "temperature" in marks else ""
    return (
        f"Line of the median entropy of the soft targets, rising from {first['entropy']:.2f} nats at T = "
        f"{first['temperature']:g} to {last['entropy']:.2f} nats at T = {last['temperature']:g}, with a band "
        f"that holds the middle rows, above a line of the mass outside the top class.{at}"
    )
