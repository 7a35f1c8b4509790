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
from kddoctor.rules.registry import Rule
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
    """against: what the rule itself says against it. how: what to record, where it was not examined."""

    rule: Rule
    against: str | None
    how: str | None


@dataclass(frozen=True)
class Model:
    """classes: [k] codes, and what is none. weights: sign → [k], per nat. intercept: [k]."""

    classes: tuple[str, ...]
    intercept: Array
    weights: Mapping[str, Array]

    def likelihoods(self, signs: Mapping[str, float]) -> dict[str, float]:
        """Share of such runs by class, to order leads by; not calibrated. A sign that is no part of it says nothing."""
        scores = self.intercept.copy()
        for sign, nats in signs.items():
            if sign in self.weights:
                scores += nats * self.weights[sign]
        return dict(zip(self.classes, softmax(scores).tolist(), strict=True))


def examined(found: Differential) -> tuple[Hypothesis, ...]:
    """All hypotheses of a run, whatever became of them."""
    return (*found.established, *found.explained, *found.suspects, *found.refuted, *found.open)


def signs_of(found: Differential) -> dict[str, float]:
    """Nats for a code, less those against it, by code and measurement: what a run looks like to all rules together."""
    signs: dict[str, float] = {}
    for hypothesis in examined(found):
        for item in hypothesis.finding.evidence:
            sign = f"{hypothesis.rule.code} {item.probe} {item.measure}"
            signs[sign] = signs.get(sign, 0.0) + (item.weight if item.supports else -item.weight)
    return signs


def leads(found: Differential, named: Iterable[str], model: Model | None = None) -> tuple[Lead, ...]:
    """The likeliest codes that were judged, or could not be, and are not among the named ones; often none is likely."""
    shares = (model or fitted()).likelihoods(signs_of(found))
    judged = [Lead(h.rule, _strongest_against(h), None) for h in examined(found)]
    silent = [Lead(rule, None, missing.how) for rule, missing in found.not_examined]
    codes = {code for code, share in shares.items() if share >= LIKELY}.difference(named)
    likely = [lead for lead in (*judged, *silent) if lead.rule.code in codes]
    return tuple(sorted(likely, key=lambda lead: (-shares[lead.rule.code], lead.rule.code))[:MOST])


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
