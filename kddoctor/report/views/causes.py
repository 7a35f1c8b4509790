"""The causes, the most likely first, with what they explain."""

import pandas as pd

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.views.view import View

QUESTION = "What is wrong?"
COLUMNS = (
    *("rank", "code", "name", "title", "role", "severity", "confidence", "status", "where"),
    *("worth_low", "worth_high", "fix", "automatic", "explained_by"),
)


def causes(diagnosis: Diagnosis) -> View:
    """All findings in the order of the diagnosis. frame: as ``COLUMNS``; worth in points, NaN where not estimated."""
    rows = [
        {
            "rank": rank,
            "code": f.code,
            "name": f.name,
            "title": f.title,
            "role": f.role,
            "severity": f.severity,
            "confidence": f.confidence,
            "status": f.status,
            "where": f.where or "",
            "worth_low": float("nan") if f.worth is None else f.worth.points[0],
            "worth_high": float("nan") if f.worth is None else f.worth.points[1],
            "fix": "" if f.prescription is None else f.prescription.summary,
            "automatic": f.prescription is not None and f.prescription.automatic,
            "explained_by": f.explained_by or "",
        }
        for rank, f in enumerate(diagnosis.findings, start=1)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    named = frame[frame["role"] == "cause"]
    if named.empty:
        answer = "No cause was found."
    else:
        first = named.iloc[0]
        answer = f"{first['title']} ({first['code']}, confidence {first['confidence']:.2f})."
        if len(named) > 1:
            answer = f"{len(named)} causes; the most likely: {answer}"
    return View("causes", QUESTION, answer, f"Table of {len(frame)} findings.", frame, {"causes": float(len(named))})
