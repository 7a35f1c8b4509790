"""What was observed in the loop, completed by what other files of the record hold."""

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.reading import first_rows
from kddoctor.run.directory import Run
from kddoctor.run.observations import InputFacts, Observations

#: Rows of both models' inputs that are compared.
INPUT_ROWS = 2000


def observed(run: Run) -> Observations:
    """Observations, and where nobody noted what the models' inputs are like, what recorded inputs say of that."""
    seen, inputs = run.observations, run.inputs("train")
    if seen.inputs is not None or inputs is None or inputs.teacher_inputs is None:
        return seen
    student, teacher = (first_rows(array, INPUT_ROWS) for array in (inputs.inputs, inputs.teacher_inputs))
    if np.array_equal(student, teacher):
        return seen
    known = {"same_inputs": False if seen.same_inputs is None else seen.same_inputs}
    # The same values in other places are another arrangement of them, of which mean and spread say nothing.
    if np.array_equal(np.sort(student, axis=None), np.sort(teacher, axis=None)):
        return seen.model_copy(update=known)
    return seen.model_copy(
        update=known | {"inputs": {"loop_student": _facts(student), "loop_teacher": _facts(teacher)}}
    )


def _facts(rows: NDArray[np.generic]) -> InputFacts:
    values = np.asarray(rows, np.float64)
    return InputFacts(
        rows=len(values),
        mean=float(values.mean()),
        std=float(values.std()),
        min=float(values.min()),
        max=float(values.max()),
        zeros=float((values == 0).mean()),
        shape=list(values.shape[1:]),
    )
