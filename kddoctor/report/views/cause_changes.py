"""What became of every cause between two runs."""

import pandas as pd

from kddoctor.engine.diagnosis import Diagnosis, FindingReport
from kddoctor.report.views.view import View

QUESTION = "Which causes are new, which are cured?"
#: A confidence that moves by less is the same.
SAME = 0.05


def cause_changes(a: Diagnosis, b: Diagnosis) -> View:
    """Every code that is a cause in a or b. frame: code, title, change (new, worse, same, better, cured, not examined),
    a, b (confidence, NaN where it is no cause). marks: the count of each change.

    A cause of a that b could not examine is not cured.
    """
    before, after = ({f.code: f for f in diagnosis.causes} for diagnosis in (a, b))
    unseen = {item.code for item in b.not_examined}
    rows = [
        {
            "code": code,
            "title": (after.get(code) or before[code]).title,
            "change": _change(before.get(code), after.get(code), code in unseen),
            "a": before[code].confidence if code in before else float("nan"),
            "b": after[code].confidence if code in after else float("nan"),
        }
        for code in dict.fromkeys((*after, *before))
    ]
    frame = pd.DataFrame(rows, columns=["code", "title", "change", "a", "b"])
    counts = frame["change"].value_counts()
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    answer = f"Of {len(frame)} causes: {listed}." if len(frame) else "Neither run has a cause."
    marks = {str(name): float(count) for name, count in counts.items()}
    return View("cause_changes", QUESTION, answer, f"Table of {len(frame)} causes.", frame, marks)


def _change(before: FindingReport | None, after: FindingReport | None, unseen: bool) -> str:
    if before is None:
        return "new"
    if after is None:
        return "not examined" if unseen else "cured"
    moved = after.confidence - before.confidence
    if abs(moved) < SAME:
        return "same"
    return "worse" if moved > 0 else "better"
