"""How often each code is right, for its explain page."""

import json
from collections.abc import Iterable

from kddoctor.bench.gate import Gate
from kddoctor.bench.judging import Result
from kddoctor.bench.summary import SEEN, UNSEEN
from kddoctor.bench.tier import Tier


def accuracy_text(results: Iterable[Result], gate: Gate) -> str:
    """JSON by code and selection.

    made, first: faulty runs with a measured effect, and those in which the code was named first. named, right: runs of
    any kind in which it was named first, and those in which that is true.
    """
    full = [r for r in results if r.tier is Tier.FULL and gate.counts(r.case)]
    codes = sorted({r.case.truth[0] for r in full if r.case.group == "fault"})
    figures = {
        code: {name: _of([r for r in full if chosen(r)], code) for name, chosen in (("seen", SEEN), ("unseen", UNSEEN))}
        for code in codes
    }
    return json.dumps(figures, indent=1) + "\n"


def _of(results: list[Result], code: str) -> dict[str, int]:
    made = [r for r in results if r.case.group == "fault" and r.case.truth[0] == code]
    named = [r for r in results if r.first == code]
    return {
        "made": len(made),
        "first": sum(r.first == code for r in made),
        "named": len(named),
        "right": sum(r.right for r in named),
    }
