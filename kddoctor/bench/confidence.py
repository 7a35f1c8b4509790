"""How often findings of each status and code are right where no rule was developed: what confidence is stated from."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaln

from kddoctor.bench.gate import Gate
from kddoctor.bench.held_out import BATCH
from kddoctor.bench.judging import Result
from kddoctor.bench.summary import selection
from kddoctor.bench.tier import Tier

#: Other implementations on tasks that rules were developed on. What the headline figures are of stays out.
FITTED = selection(unseen_task=False, unseen_implementation=True)
#: Bounds of how many runs the rate of all codes counts for. Most codes are named fewer than eight times: a few runs of
#: two tasks shall not say everything about a code.
WORTH = (8.0, 100.0)
#: (named, right) by code.
Counts = Mapping[str, tuple[int, int]]


def confidence_text(results: Iterable[Result], gate: Gate, earlier: Mapping[str, Any] | None = None) -> str:
    """JSON by status: rate and worth (see ``engine.stating``), and (named, right) by code, of all batches together.

    earlier: what the file holds. What was counted on batches before this one stays: each of them was held out when it
    was counted, and batches differ by more than one of them shows.
    """
    counted: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
    for status, record in (earlier or {}).items():
        counted[status] = {batch: codes for batch, codes in record["batches"].items() if batch != BATCH}
    for result in results:
        if result.tier is Tier.FULL and result.first is not None and FITTED(result) and gate.counts(result.case):
            codes = counted.setdefault(result.status, {}).setdefault(BATCH, {})
            named, right = codes.get(result.first, (0, 0))
            codes[result.first] = (named + 1, right + result.right)
    records = {status: {**_record(_together(of)), "batches": of} for status, of in counted.items() if _together(of)}
    for status, record in records.items():
        # Counted by rules that had not seen those tasks, which no rules of now can be.
        if "novelty" in (earlier or {}).get(status, {}):
            record["novelty"] = (earlier or {})[status]["novelty"]
    return json.dumps(records, indent=1, sort_keys=True) + "\n"


def _together(batches: Mapping[str, Counts]) -> Counts:
    found: dict[str, tuple[int, int]] = {}
    for codes in batches.values():
        for code, (named, right) in codes.items():
            before = found.get(code, (0, 0))
            found[code] = (before[0] + named, before[1] + right)
    return found


def _record(codes: Counts) -> dict[str, object]:
    named, right = (np.array(column, float) for column in zip(*codes.values(), strict=True))
    rate = float((right.sum() + 0.5) / (named.sum() + 1))  # never 0 or 1 (Jeffreys)

    def surprise(worth: float) -> float:
        """Of the counts under a beta-binomial with this mean, up to a constant."""
        a, b = worth * rate, worth * (1 - rate)
        return float(-(betaln(right + a, named - right + b) - betaln(a, b)).sum())

    worth = minimize_scalar(surprise, bounds=WORTH, method="bounded").x
    return {
        "rate": round(rate, 3),
        "worth": round(float(worth), 1),
        "codes": {code: list(codes[code]) for code in sorted(codes)},
    }
