"""How sure a finding is stated to be: as often as such findings have been right where no rule was developed.

Weighing decides what is believed. How often that is right differs by rule, and for all by the grade of the evidence;
``confidence.json`` holds counts of both, which ``kddoctor bench --confidence`` makes from seen tasks and
implementations that no rule was developed with.
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
    beside a code's own (empirical Bayes). by_code: (named, right).
    """

    rate: float
    worth: float
    by_code: Mapping[str, tuple[int, int]]

    def rate_of(self, code: str) -> float:
        """A code's own rate, drawn towards that of all; 0 to 1."""
        named, right = self.by_code.get(code, (0, 0))
        return (right + self.worth * self.rate) / (named + self.worth)


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
            record["rate"], record["worth"], {code: tuple(pair) for code, pair in record["codes"].items()}
        )
        for status, record in read.items()
    }
