"""How often findings of each status and code are right where no rule was developed: what confidence is stated from."""

import json
from collections.abc import Iterable, Mapping

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaln

from kddoctor.bench.gate import Gate
from kddoctor.bench.judging import Result
from kddoctor.bench.summary import selection
from kddoctor.bench.tier import Tier

#: Other implementations on tasks that rules were developed on. What the headline figures are of stays out.
FITTED = selection(unseen_task=False, unseen_implementation=True)
#: Bounds of how many runs the rate of all codes counts for. Most codes are named fewer than eight times: a few runs of
#: two tasks shall not say everything about a code.
WORTH = (8.0, 100.0)


def confidence_text(results: Iterable[Result], gate: Gate) -> str:
    """JSON by status: rate and worth (see ``engine.stating``), and (named, right) by code."""
    counted: dict[str, dict[str, tuple[int, int]]] = {}
    for result in results:
        if result.tier is Tier.FULL and result.first is not None and FITTED(result) and gate.counts(result.case):
            codes = counted.setdefault(result.status, {})
            named, right = codes.get(result.first, (0, 0))
            codes[result.first] = (named + 1, right + result.right)
    records = {status: _record(codes) for status, codes in sorted(counted.items())}
    return json.dumps(records, indent=1) + "\n"


def _record(codes: Mapping[str, tuple[int, int]]) -> dict[str, object]:
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
