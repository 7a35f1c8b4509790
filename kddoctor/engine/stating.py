"""How sure a finding is stated to be: as often as such findings have been right where no rule was developed.

Weighing decides what is believed. How often that is right differs by rule, and for all by the grade of the evidence;
``confidence.json`` holds counts of both, which ``kddoctor bench --confidence`` makes from seen tasks and
implementations that no rule was developed with; and, since a user's task is new to all rules, how much less such
findings were worth on tasks that nobody had seen (docs/decisions/stated-confidence.md).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from kddoctor.engine.types import Hypothesis, Status
from kddoctor.engine.weighing import CEILING

FILE = "confidence.json"


@dataclass(frozen=True)
class Record:
    """Runs in which a finding of one status was named first. worth: how many runs the rate of all codes counts for
    beside a code's own (empirical Bayes). by_code: (named, right). novelty: of that rate, what is left on a new task.
    """

    rate: float
    worth: float
    by_code: Mapping[str, tuple[int, int]]
    novelty: float = 1.0

    def rate_of(self, code: str) -> float:
        """A code's own rate, drawn towards that of all, on a new task; 0 to 1."""
        named, right = self.by_code.get(code, (0, 0))
        return self.novelty * (right + self.worth * self.rate) / (named + self.worth)


def stated(hypothesis: Hypothesis) -> float:
    """The confidence that a reader is told, 0 to 1; weaker evidence than the best of its grade lowers it further."""
    record = measured().get(hypothesis.status)
    if record is None or hypothesis.conflict:
        return hypothesis.confidence
    return hypothesis.confidence * min(1.0, record.rate_of(hypothesis.rule.code) / CEILING[hypothesis.grade])


@cache
def measured() -> Mapping[Status, Record]:
    """What the file holds, by status."""
    read = json.loads(files("kddoctor.engine").joinpath(FILE).read_text("utf-8"))
    return {
        Status(status): Record(
            record["rate"],
            record["worth"],
            {code: tuple(pair) for code, pair in record["codes"].items()},
            novelty(**record["novelty"], worth=record["worth"]) if "novelty" in record else 1.0,
        )
        for status, record in read.items()
    }


def novelty(new: tuple[int, int], known: tuple[int, int], worth: float) -> float:
    """Rate of findings on tasks that nobody had seen over that on tasks that rules were developed on, at most 1.

    new, known: (named, right), by the same rules. worth: runs that the rate on known tasks counts for beside the new
    ones. Rates are never 0 or 1 (Jeffreys).
    """
    on_known = (known[1] + 0.5) / (known[0] + 1)
    on_new = (new[1] + worth * on_known) / (new[0] + worth)
    return min(1.0, on_new / on_known)
