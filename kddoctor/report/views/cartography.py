"""Which examples were easy, hard or in doubt, from what the student thought of them during its training."""

import numpy as np
import pandas as pd

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.reading import binary_like, class_rows, classes, evenly
from kddoctor.probes.row_outputs import read_outputs
from kddoctor.report.views.class_names import class_namer
from kddoctor.report.views.examples import row_places
from kddoctor.report.views.snapshot_line import NEEDS
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run

QUESTION = "Which examples were easy, hard or in doubt while it learned?"
#: Snapshots without which there is no variability to speak of (Swayamdipta et al. 2020 take every epoch).
FEWEST = 3
#: Points that are drawn.
MOST = 1000
#: Share of the examples that are called ambiguous: the most variable third, as in the paper.
AMBIGUOUS = 1 / 3
REGIONS = ("easy to learn", "ambiguous", "hard to learn")


def cartography(run: Run) -> View | Missing:
    """The student's probability of the label at every snapshot, of the same held-out rows (at most 1,000).

    frame: row, place, label (name), step, probability, right; a row an example and snapshot. ``mapped`` makes the map
    of it. marks: rows, snapshots, sure (the border of confidence, half-way between chance and certainty), and the count
    of each region.
    """
    split = held_out_split(run)
    taken, part = run.snapshots(split), run.predictions(split)
    if taken is None or taken.student_logits is None or part is None:
        return Missing("cartography", QUESTION, NEEDS)
    labels = part.labels[: taken.n]
    row, place = row_places(run.manifest, np.arange(taken.n), labels)
    chosen = evenly(len(row), MOST)
    name_of = class_namer(run.manifest)
    tables = []
    for moment, step in enumerate(taken.step):
        logits, truth = class_rows(run.manifest, np.asarray(taken.student_logits[moment : moment + 1])[0], labels)
        truth = np.minimum(truth, 1) if binary_like(run.manifest) else truth
        if not np.isfinite(logits).all():
            continue
        found = read_outputs(logits[chosen], truth[chosen], 1.0, "student_logits")
        table = {"row": row[chosen], "place": place[chosen], "label": [name_of(int(c)) for c in truth[chosen]]}
        probability = np.exp(-found.loss)
        tables.append(
            pd.DataFrame(
                {**table, "step": int(step), "probability": probability, "right": found.predicted == truth[chosen]}
            )
        )
    if len(tables) < FEWEST:
        return Missing("cartography", QUESTION, f"{NEEDS}, at least {FEWEST} times")
    frame = pd.concat(tables, ignore_index=True)
    sure = (1 + 1 / classes(run.manifest)) / 2
    marks = {"sure": sure, "rows": float(len(chosen)), "snapshots": float(len(tables))}
    counts = mapped(frame, sure)["region"].value_counts()
    marks |= {name: float(counts.get(name, 0)) for name in REGIONS}
    notes = (
        f"The first {taken.n} rows of {split} at {len(tables)} snapshots; held out, so that none of them was learnt by "
        "heart.",
        "Ambiguous is the third whose probability varied most (Swayamdipta et al. 2020); the others are easy or hard "
        "by their mean probability, with the border half-way between chance and certainty.",
    )
    return View("cartography", QUESTION, _answer(marks), _alt(marks), frame, marks, notes)


def mapped(frame: pd.DataFrame, sure: float, until: float | None = None) -> pd.DataFrame:
    """The map: row, place, label, confidence (mean), variability (standard deviation), correctness (share of the
    snapshots that were right), region; an example a row. frame: of ``cartography``. until: last step that counts.
    """
    seen = frame if until is None else frame[frame["step"] <= until]
    groups = seen.groupby(["row", "place", "label"], sort=True)
    table = groups.agg(confidence=("probability", "mean"), correctness=("right", "mean")).reset_index()
    table.insert(4, "variability", groups["probability"].std(ddof=0).to_numpy())
    border = float(table["variability"].quantile(1 - AMBIGUOUS))
    varied = (table["variability"] >= border) & (table["variability"] > 0)
    table["region"] = np.where(varied, REGIONS[1], np.where(table["confidence"] >= sure, REGIONS[0], REGIONS[2]))
    return table


def _answer(marks: dict[str, float]) -> str:
    easy, doubt, hard = (f"{marks[name]:,.0f}" for name in REGIONS)
    return (
        f"Of {marks['rows']:,.0f} examples {easy} were easy and {hard} hard, on average over the snapshots; on {doubt} "
        "the student changed its mind most."
    )


def _alt(marks: dict[str, float]) -> str:
    counts = ", ".join(f"{name}: {marks[name]:,.0f}" for name in REGIONS)
    return f"Map of the mean probability of the label against its variability over the snapshots. {counts}."
