"""The examples on which one of two students is right and the other is wrong."""

import numpy as np
import pandas as pd

from kddoctor.report.views.examples import Examples
from kddoctor.report.views.view import Missing, View

QUESTION = "Which examples turned?"
MOST = 500


def flipped_examples(a: Examples | Missing, b: Examples | Missing) -> View | Missing:
    """frame: row, place, id, label, a, b (the students' answers), change (fixed or broken, from a to b), loss_change
    (nats); the 500 whose loss changed most. marks: fixed, broken. Missing where the two hold different rows.
    """
    if isinstance(a, Missing) or isinstance(b, Missing) or not same_rows(a, b):
        needs = "record the same held-out examples, in the same order, in both runs: only then they can be paired"
        return Missing("flipped_examples", QUESTION, needs)
    right_a, right_b = a.student.predicted == a.label, b.student.predicted == b.label
    change = b.student.loss - a.student.loss
    turned = np.flatnonzero(right_a != right_b)
    order = turned[np.lexsort((a.row[turned], -np.abs(change[turned])))][:MOST]
    frame = pd.DataFrame(
        {
            "row": a.row[order],
            "place": a.place[order],
            "id": a.ids[order],
            "label": [a.name_of(int(number)) for number in a.label[order]],
            "a": [a.name_of(int(number)) for number in a.student.predicted[order]],
            "b": [a.name_of(int(number)) for number in b.student.predicted[order]],
            "change": np.where(right_b[order], "fixed", "broken"),
            "loss_change": change[order],
        }
    )
    fixed, broken = int((~right_a & right_b).sum()), int((right_a & ~right_b).sum())
    answer = f"From A to B {fixed:,} rows were fixed and {broken:,} broken."
    notes = (f"The {MOST} whose loss changed most.",) if len(turned) > MOST else ()
    marks = {"fixed": float(fixed), "broken": float(broken)}
    return View("flipped_examples", QUESTION, answer, f"Table of {len(frame)} examples. {answer}", frame, marks, notes)


def same_rows(a: Examples, b: Examples) -> bool:
    """Whether both hold the same examples in the same order."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("row", "place", "ids", "label"))
