"""The examples on which student and teacher are furthest apart."""

import numpy as np
import pandas as pd

from kddoctor.report.views.examples import Examples
from kddoctor.report.views.view import View

QUESTION = "On which examples is the student furthest from its teacher?"
WORST = 500


def worst_examples(examples: Examples, most: int = WORST) -> View:
    """Rows of the largest KL(teacher ‖ student) at T = 1, the largest first.

    frame: row (in the predictions file), place (in a sequence or among labels), id, label, teacher, student (names of
    classes), teacher_right, student_right, teacher_confidence, student_confidence, student_loss, kl (nats).
    """
    chosen = np.lexsort((examples.place, examples.row, -examples.kl))[:most]
    label, teacher, student = (
        values[chosen] for values in (examples.label, examples.teacher.predicted, examples.student.predicted)
    )
    frame = pd.DataFrame(
        {
            "row": examples.row[chosen],
            "place": examples.place[chosen],
            "id": examples.ids[chosen],
            "label": [examples.name_of(int(number)) for number in label],
            "teacher": [examples.name_of(int(number)) for number in teacher],
            "student": [examples.name_of(int(number)) for number in student],
            "teacher_right": teacher == label,
            "student_right": student == label,
            "teacher_confidence": examples.teacher.confidence[chosen],
            "student_confidence": examples.student.confidence[chosen],
            "student_loss": examples.student.loss[chosen],
            "kl": examples.kl[chosen],
        }
    )
    taught = int((frame["teacher_right"] & ~frame["student_right"]).sum())
    first = frame.iloc[0]
    answer = (
        f"On row {first['row']} the two are {first['kl']:.2f} nats apart, the most of all; on {taught} of the "
        f"{len(frame)} worst rows the teacher is right and the student is wrong."
    )
    alt = f"Table of the {len(frame)} rows with the largest divergence from the teacher."
    marks = {"taught_in_vain": float(taught), "listed": float(len(frame))}
    return View("worst_examples", QUESTION, answer, alt, frame, marks, examples.notes)
