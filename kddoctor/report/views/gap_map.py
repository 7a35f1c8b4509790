"""Every example by how sure the teacher is and how wrong the student: where the signal did not arrive."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.report.views.examples import Examples
from kddoctor.report.views.view import View

QUESTION = "Which examples did it fail to learn?"
#: Bins on either side of a border, along each axis.
BINS = 10
#: Examples of the largest divergence that are shown one by one.
WORST = 200
#: Share of the rows that fits on the axis of losses; larger losses are drawn at its end.
SHOWN = 0.995
#: (teacher is sure, student is right) to name.
REGIONS = {
    (True, False): "teacher sure, student lost",
    (True, True): "taught and learnt",
    (False, False): "hard for both",
    (False, True): "student alone knows",
}


def gap_map(examples: Examples) -> View:
    """Teacher's confidence against the student's loss, binned, with the 200 rows of the largest divergence.

    The borders lie half-way between chance and certainty: a confidence of (1 + 1/C) / 2, and the loss of a student that
    gives the label that probability. frame: kind ("bin" or "worst"), teacher_confidence and student_loss (nats; of a
    bin, its middle), confidence_low, confidence_high, loss_low, loss_high and count (of bins), region, row (of the
    worst). marks: sure (the border of confidence), lost (the border of loss), and one count for each region.
    """
    sure = (1 + 1 / examples.classes) / 2
    lost = float(-np.log(sure))
    top = max(float(np.quantile(examples.student.loss, SHOWN)), 2 * lost)
    confidence = _edges(1 / examples.classes, sure, 1.0)
    loss = _edges(0.0, lost, top)
    clipped = np.minimum(examples.student.loss, top)
    counts, _, _ = np.histogram2d(np.clip(examples.teacher.confidence, confidence[0], 1.0), clipped, [confidence, loss])
    bins = _binned(counts, confidence, loss, sure, lost)
    worst = _worst(examples, sure, lost, top)
    frame = pd.concat([bins, worst], ignore_index=True)
    regions = {name: float(bins.loc[bins["region"] == name, "count"].sum()) for name in REGIONS.values()}
    marks = {"sure": sure, "lost": lost, "rows": float(len(examples)), **regions}
    notes = [*examples.notes, "Borders: half-way between chance and certainty."]
    over = int((examples.student.loss > top).sum())
    if over:
        notes.append(f"{over} rows with a loss above {top:.2f} nats are drawn at the top.")
    return View("gap_map", QUESTION, _answer(marks), _alt(marks), frame, marks, tuple(notes))


def _edges(low: float, border: float, high: float) -> NDArray[np.float64]:
    """Bins that no border cuts, so that regions are sums of bins."""
    return np.concatenate([np.linspace(low, border, BINS + 1)[:-1], np.linspace(border, high, BINS + 1)])


def _binned(
    counts: NDArray[np.float64],
    confidence: NDArray[np.float64],
    loss: NDArray[np.float64],
    sure: float,
    lost: float,
) -> pd.DataFrame:
    i, j = np.nonzero(counts)
    table = pd.DataFrame(
        {
            "kind": "bin",
            "teacher_confidence": (confidence[i] + confidence[i + 1]) / 2,
            "student_loss": (loss[j] + loss[j + 1]) / 2,
            "confidence_low": confidence[i],
            "confidence_high": confidence[i + 1],
            "loss_low": loss[j],
            "loss_high": loss[j + 1],
            "count": counts[i, j].astype(np.int64),
            "row": -1,
        }
    )
    return table.assign(region=_regions(table, sure, lost))


def _worst(examples: Examples, sure: float, lost: float, top: float) -> pd.DataFrame:
    chosen = np.lexsort((examples.row, -examples.kl))[:WORST]
    table = pd.DataFrame(
        {
            "kind": "worst",
            "teacher_confidence": examples.teacher.confidence[chosen],
            "student_loss": np.minimum(examples.student.loss[chosen], top),
            "confidence_low": np.nan,
            "confidence_high": np.nan,
            "loss_low": np.nan,
            "loss_high": np.nan,
            "count": 1,
            "row": examples.row[chosen],
        }
    )
    return table.assign(region=_regions(table, sure, lost))


def _regions(table: pd.DataFrame, sure: float, lost: float) -> list[str]:
    return region_of(table["teacher_confidence"], table["student_loss"], sure, lost)


def region_of(confidence: "pd.Series[float]", loss: "pd.Series[float]", sure: float, lost: float) -> list[str]:
    """The region of each example. confidence: the teacher's; loss: the student's, nats; sure, lost: the borders."""
    return [REGIONS[bool(a), bool(b)] for a, b in zip(confidence >= sure, loss < lost, strict=True)]


def _answer(marks: dict[str, float]) -> str:
    missed, learnt, hard = (REGIONS[key] for key in ((True, False), (True, True), (False, False)))
    return (
        f"Of {marks['rows']:,.0f} rows the teacher is sure and the student lost on {marks[missed]:,.0f}; "
        f"{marks[learnt]:,.0f} are taught and learnt, {marks[hard]:,.0f} are hard for both."
    )


def _alt(marks: dict[str, float]) -> str:
    counts = ", ".join(f"{name}: {marks[name]:,.0f}" for name in REGIONS.values())
    return f"Map of the teacher's confidence against the student's loss in four regions. {counts}."
