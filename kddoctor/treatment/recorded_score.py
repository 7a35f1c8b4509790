"""How the student of a recorded run does, without a diagnosis: for runs that are made only to be measured."""

import numpy as np

from kddoctor.engine.diagnosis import diagnose
from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.engine.outcome import area_under_roc
from kddoctor.engine.reading import binary_like
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.treatment.scoring import Score


def recorded_score(run: Run) -> Score:
    """In the metric of the diagnosis, on the held-out rows. A row whose logits are not finite is answered wrongly."""
    part = run.predictions(held_out_split(run))
    if part is None or part.student_logits is None:  # kept in another form, which a diagnosis knows to read
        gap = diagnose(run).gap
        return Score(gap.metric, gap.student or 0.0, gap.student or 0.0, gap.agreement or 0.0, max(1, gap.rows))
    labels, logits = part.labels.read(), part.student_logits.read()
    counts = labels != IGNORED
    if binary_like(run.manifest):
        truth, scores = labels.reshape(part.n, -1), logits.reshape(part.n, -1)
        right = (scores > 0) == (truth > 0)
        area = area_under_roc(truth, np.nan_to_num(scores))
        if area is not None:
            return Score("auc", area, float(right.mean()), 0.0, part.n)
    else:
        right = (logits.argmax(-1) == labels) & np.isfinite(logits).all(-1)
        right = right[counts]
    accuracy = float(right.mean()) if right.size else 0.0
    return Score("accuracy", accuracy, accuracy, 0.0, max(1, right.size))
