"""Fits what leads come from: which codes runs had, by all evidence of all rules together."""

import json
from collections.abc import Iterable, Iterator

from kddoctor.bench.gate import Gate
from kddoctor.bench.judging import Result
from kddoctor.bench.measuring import measure_case
from kddoctor.bench.recording import Cache
from kddoctor.bench.summary import selection
from kddoctor.bench.tier import Tier
from kddoctor.engine.leads import HEALTHY, OUTSIDE, signs_of
from kddoctor.engine.reasoning import differential

#: Tasks and implementations that rules were developed on; what is held out stays out.
IN_SIGHT = selection(unseen_task=False, unseen_implementation=False)
#: Inverse strength of the penalty on weights per nat. From 0.003 to 0.1 leads are as good, on tasks and a batch of
#: implementations that were left out of the fit.
INVERSE_PENALTY = 0.01
#: Weights below this are left out of the file: evidence has ten nats at most.
SMALLEST = 0.002


def leads_text(results: Iterable[Result], gate: Gate, cache: Cache) -> str:
    """JSON of classes, their intercepts, and weights by sign and class."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    signs, names = zip(*_examples(results, gate, cache), strict=True)
    vectorizer = DictVectorizer(sparse=False)
    # Every code counts alike: how often it was made here says nothing of how often people meet it.
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=1000)
    model.fit(vectorizer.fit_transform(signs), names)
    classes = [str(name) for name in model.classes_]
    weights = {}
    for sign, column in zip(vectorizer.feature_names_, model.coef_.T, strict=True):
        kept = {name: round(float(w), 3) for name, w in zip(classes, column, strict=True) if abs(w) >= SMALLEST}
        if kept:
            weights[sign] = kept
    record = {"classes": classes, "intercept": [round(float(x), 3) for x in model.intercept_], "weights": weights}
    return json.dumps(record, separators=(",", ":"), sort_keys=True).replace("},", "},\n") + "\n"


def _examples(results: Iterable[Result], gate: Gate, cache: Cache) -> Iterator[tuple[dict[str, float], str]]:
    """Signs of each run in sight, and what was wrong with it; runs with two faults say nothing of either."""
    for result in results:
        case = result.case
        if result.tier is not Tier.FULL or not IN_SIGHT(result) or len(case.truth) > 1 or not gate.counts(case):
            continue
        measured = measure_case(case, Tier.FULL, cache).measured
        if measured is not None:
            name = HEALTHY if case.sound else (case.truth[0] if case.truth else OUTSIDE)
            yield signs_of(differential(measured)), name
