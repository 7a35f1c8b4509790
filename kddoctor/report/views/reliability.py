"""Whether the confidences of teacher and student can be believed."""

import numpy as np
import pandas as pd

from kddoctor.report.views.calibration import SURE, calibration
from kddoctor.report.views.examples import Examples
from kddoctor.report.views.view import View

QUESTION = "Can the confidences be believed?"
#: Bins that are asked for, fewer where they would hold less than ``SMALL`` rows each, down to ``FEWEST``.
MOST, FEWEST = 15, 5
#: A bin of fewer rows is too small to be believed.
SMALL = 20


def reliability(examples: Examples) -> View:
    """Mean confidence against accuracy in bins of equally many rows, for both models.

    frame: model, confidence, accuracy, low, high (the bin's range of confidence), rows, small. marks: teacher_ece,
    student_ece, each with _low and _high (90 % interval).
    """
    bins = min(MOST, max(FEWEST, len(examples) // SMALL))
    tables: list[pd.DataFrame] = []
    marks: dict[str, float] = {}
    for model, answers in (("teacher", examples.teacher), ("student", examples.student)):
        found = calibration(answers.confidence, answers.predicted == examples.label, bins)
        tables.append(
            pd.DataFrame(
                {
                    "model": model,
                    "confidence": found.confidence,
                    "accuracy": found.accuracy,
                    "low": found.low,
                    "high": found.high,
                    "rows": found.rows,
                    "small": found.rows < SMALL,
                }
            )
        )
        low, high = found.interval
        marks |= {f"{model}_ece": found.ece, f"{model}_ece_low": low, f"{model}_ece_high": high}
    frame = pd.concat(tables, ignore_index=True)
    small = int(frame["small"].sum())
    notes = [
        f"Calibration error: mean distance of confidence and accuracy over {len(frame) // 2} bins of equally many rows "
        f"(the diagnosis uses 15 bins of equal width). Intervals: ±{SURE:g} standard errors of the bins' distances.",
        *examples.notes,
    ]
    if small:
        notes.append(f"{small} bins hold fewer than {SMALL} rows and are drawn hollow.")
    return View("reliability", QUESTION, _answer(frame, marks), _alt(frame), frame, marks, tuple(notes))


def _answer(frame: pd.DataFrame, marks: dict[str, float]) -> str:
    said = [
        f"the {model}'s calibration error is {marks[f'{model}_ece']:.3f} "
        f"({marks[f'{model}_ece_low']:.3f} to {marks[f'{model}_ece_high']:.3f}), and it is "
        f"{_side(frame[frame['model'] == model])}"
        for model in ("teacher", "student")
    ]
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _side(bins: pd.DataFrame) -> str:
    """Whether confidences are above accuracies on average."""
    gap = float(np.average(bins["confidence"] - bins["accuracy"], weights=bins["rows"]))
    error = float(np.sqrt((bins["accuracy"] * (1 - bins["accuracy"]) * bins["rows"]).sum()) / bins["rows"].sum())
    if abs(gap) <= SURE * error:
        return "neither over- nor underconfident"
    return "overconfident" if gap > 0 else "underconfident"


def _alt(frame: pd.DataFrame) -> str:
    ends = []
    for model, bins in frame.groupby("model", sort=False):
        last = bins.iloc[-1]
        ends.append(
            f"the {model}'s most confident bin states {last['confidence']:.0%} and is right on {last['accuracy']:.0%}"
        )
    return f"Accuracy against stated confidence, with a diagonal for perfect confidences: {'; '.join(ends)}."
