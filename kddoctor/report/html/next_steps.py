"""Commands to copy, and what each brings."""

import shlex
from typing import NamedTuple

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.errors import one_line


class Step(NamedTuple):
    """command: None where something has to be done by hand."""

    command: str | None
    why: str


def next_steps(diagnosis: Diagnosis, path: str) -> list[Step]:
    """What to do about this diagnosis, the most useful first. path: the run directory, as the user wrote it."""
    run = shlex.quote(one_line(path))
    steps = []
    causes = [cause for cause in diagnosis.causes if cause.severity != "note"]
    treatable = next((c for c in causes if c.prescription is not None and c.prescription.automatic), None)
    if treatable is not None:
        output = shlex.quote(f"{one_line(path).rstrip('/')}-treated")
        why = f"Retrains a student without {treatable.code} and measures how much of the gap closes."
        steps.append(Step(f"kddoctor treat {run} --output {output}", why))
    elif causes and causes[0].prescription is not None:
        steps.append(Step(None, f"By hand: {causes[0].prescription.summary}."))
    if causes:
        steps.append(Step(f"kddoctor explain {causes[0].code} {run}", "Every number for and against the first cause."))
    if diagnosis.verdict == "inconclusive":
        steps += [Step(None, f"Record more: {text}.") for text in diagnosis.advice]
        steps.append(Step(f"kddoctor diagnose {run}", "Looks again, once more is recorded."))
    if diagnosis.verdict == "healthy":
        steps.append(Step(f"kddoctor check {run}", "The same checks, as a gate for later runs."))
    steps.append(Step(f"kddoctor app {run}", "Examples, layers and temperatures, to click through."))
    return steps
