"""Every measurement that was held against a threshold, by code."""

from collections.abc import Mapping

import pandas as pd

from kddoctor.engine.reasoning import differential
from kddoctor.report.views.view import View

QUESTION = "What was measured, and against which limit?"
COLUMNS = ("code", "supports", "text", "measure", "value", "threshold", "origin", "grade", "weight")


def check_evidence(measured: Mapping[type, object]) -> View:
    """frame: code, supports, text, measure, value, threshold, origin (of the threshold), grade, weight (nats), a row a
    measurement of every code that was weighed. measured: from ``measure``.
    """
    found = differential(measured)
    weighed = (*found.established, *found.explained, *found.suspects, *found.refuted)
    rows = [
        (h.rule.code, e.supports, e.text, e.measure, e.value, e.threshold, e.origin, e.grade.name.lower(), e.weight)
        for h in sorted(weighed, key=lambda h: h.rule.code)
        for e in h.finding.evidence
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float, "threshold": float})
    count = frame["code"].nunique()
    answer = f"{len(frame)} measurements for or against {count} codes."
    return View("check_evidence", QUESTION, answer, f"Table. {answer}", frame, {"measurements": float(len(frame))})
