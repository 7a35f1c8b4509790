"""Every code of the catalogue, and what became of it in this run."""

import pandas as pd

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.report.views.view import View
from kddoctor.rules.registry import all_rules

QUESTION = "What exactly was tested?"
#: Role of a finding to the state of its check.
STATES = {"cause": "cause", "symptom": "symptom", "contributor": "suspected"}


def checks(diagnosis: Diagnosis) -> View:
    """frame: code, name, family, title, state (cause, symptom, suspected, ruled out, undecided, not examined, left
    out), confidence (share of belief, NaN where not weighed), needs and how (to record, where not examined).
    """
    state = {
        **dict.fromkeys(diagnosis.ruled_out, "ruled out"),
        **dict.fromkeys(diagnosis.undecided, "undecided"),
        **{item.code: "not examined" for item in diagnosis.not_examined},
        **{f.code: STATES[f.role] for f in diagnosis.findings},
    }
    silent = {item.code: item for item in diagnosis.not_examined}
    confidence = {f.code: f.confidence for f in diagnosis.findings}
    frame = pd.DataFrame(
        [
            {
                "code": rule.code,
                "name": rule.name,
                "family": rule.family,
                "title": rule.title,
                # Codes that the caller ignored, and those of other kinds of tasks.
                "state": state.get(rule.code, "left out"),
                "confidence": confidence.get(rule.code, float("nan")),
                "needs": ", ".join(silent[rule.code].needs) if rule.code in silent else "",
                "how": silent[rule.code].how if rule.code in silent else "",
            }
            for rule in all_rules().values()
        ]
    )
    counts = frame["state"].value_counts()
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    marks = {str(name): float(count) for name, count in counts.items()}
    return View("checks", QUESTION, f"{len(frame)} checks: {listed}.", f"Table of {len(frame)} checks.", frame, marks)
