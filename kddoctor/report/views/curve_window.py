"""What each logged curve did between two steps, and the curves of two runs together."""

import pandas as pd

from kddoctor.report.views.view import View


def curve_window(view: View, low: float, high: float) -> pd.DataFrame:
    """A row for each curve of ``training_curves`` that has values from step low to step high: key, split, first, last,
    lowest, highest, values (how many are finite).
    """
    frame = view.frame[view.frame["step"].between(low, high) & view.frame["value"].notna()]
    groups = frame.groupby(["key", "split"], sort=False)["value"]
    table = groups.agg(first="first", last="last", lowest="min", highest="max", values="count")
    return table.reset_index()


def curves_of_two(a: View, b: View) -> View:
    """``training_curves`` of two runs in one frame, with the column run ("A" or "B"); only curves that both have."""
    both = [view.frame.assign(run=name) for name, view in (("A", a), ("B", b))]
    keys = [set(zip(frame["key"], frame["split"], strict=True)) for frame in both]
    common = keys[0] & keys[1]
    frame = pd.concat(both, ignore_index=True)
    kept = [pair in common for pair in zip(frame["key"], frame["split"], strict=True)]
    answer = f"A: {a.answer} B: {b.answer}"
    return View(
        "curves_of_two",
        "How did the two trainings go?",
        answer,
        f"Curves of both runs. {answer}",
        frame[kept],
        {},
        # What each run's marks say is not of both.
        tuple(note for note in a.notes if not note.startswith("Marked")),
    )
