"""Where to look next: codes that runs with such evidence had in the benchmark, and that the rules do not believe.

A rule sees its own evidence. What all of it together looks like says more: a run that KD402 was named in, while KD504
was refuted for a loss that had not levelled, is often one of KD504 all the same. ``leads.json`` holds a linear model of
that, one weight for each kind of evidence and code; ``kddoctor bench --leads`` fits it on runs that rules were
developed with. A lead is no finding: it has no part in the verdict and no confidence, only a place in a short list.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.special import softmax

from kddoctor.engine.types import Differential, Hypothesis
from kddoctor.run.arrays import Array

FILE = "leads.json"
#: Leads that are shown: with a cause before them, the list is as long as anybody reads.
MOST = 3
#: Likelihood of the least likely one. On tasks and implementations that the model was not fitted on, of the true codes
#: among the first three one in six is below it, and of the leads that a rightly named cause does without three in four.
LIKELY = 0.05
#: What leads are, for whoever reads them.
MEANING = "What runs with such evidence had besides, in the benchmark: no finding, and no part of the verdict."
#: What a run may have besides a code; neither is ever a lead.
HEALTHY, OUTSIDE = "healthy", "outside"


@dataclass(frozen=True)
class Lead:
    """likelihood: share of such runs that had this code, 0 to 1; it orders leads, and is not calibrated.

    against: what the rule itself says against it. how: what to record, where the code was not examined.
    """

    code: str
    likelihood: float
    against: str | None
    how: str | None


@dataclass(frozen=True)
class Model:
    """classes: [k] codes, and what is none. weights: sign → [k], per nat. intercept: [k]."""

    classes: tuple[str, ...]
    intercept: Array
    weights: Mapping[str, Array]

    def likelihoods(self, signs: Mapping[str, float]) -> dict[str, float]:
        """Of each class. A sign that the model was not fitted with says nothing."""
        scores = self.intercept.copy()
        for sign, nats in signs.items():
            if sign in self.weights:
                scores += nats * self.weights[sign]
        return dict(zip(self.classes, softmax(scores).tolist(), strict=True))


def examined(found: Differential) -> tuple[Hypothesis, ...]:
    """All hypotheses of a run, whatever became of them."""
    return (*found.established, *found.explained, *found.suspects, *found.refuted, *found.open)


def signs_of(differential: Differential) -> dict[str, float]:
    """Nats for a code, less those against it, by code and measurement: what a run looks like to all rules together."""
    found: dict[str, float] = {}
    for hypothesis in examined(differential):
        for item in hypothesis.finding.evidence:
            sign = f"{hypothesis.rule.code} {item.probe} {item.measure}"
            found[sign] = found.get(sign, 0.0) + (item.weight if item.supports else -item.weight)
    return found


def leads(found: Differential, named: Iterable[str], model: Model | None = None) -> tuple[Lead, ...]:
    """The likeliest codes that were judged, or could not be, and are not among the named ones; often none is likely."""
    likelihoods = (model or fitted()).likelihoods(signs_of(found))
    against = {h.rule.code: _strongest_against(h) for h in examined(found)}
    how = {rule.code: missing.how for rule, missing in found.not_examined}
    judged = {*against, *how}.difference(named)
    likely = [code for code in judged if likelihoods.get(code, 0.0) >= LIKELY]
    ranked = sorted(likely, key=lambda code: (-likelihoods[code], code))[:MOST]
    return tuple(Lead(code, likelihoods[code], against.get(code), how.get(code)) for code in ranked)


def _strongest_against(hypothesis: Hypothesis) -> str | None:
    strongest = max(hypothesis.finding.opposing, key=lambda e: e.weight, default=None)
    return None if strongest is None else strongest.text


@cache
def fitted() -> Model:
    """The model of the file."""
    read = json.loads(files("kddoctor.engine").joinpath(FILE).read_text("utf-8"))
    place = {name: at for at, name in enumerate(read["classes"])}
    weights = {}
    for sign, by_class in read["weights"].items():
        weights[sign] = np.zeros(len(place))
        for name, weight in by_class.items():
            weights[sign][place[name]] = weight
    return Model(tuple(place), np.array(read["intercept"]), weights)
