"""Sentences and checks that the rules about the end of training share."""

import math
from dataclasses import dataclass
from typing import Literal

from kddoctor.probes.deployment_measurements import EvaluatedStudent
from kddoctor.probes.proportions import SURE, standard_error
from kddoctor.probes.value_grid import LEVELS, ValueGrid

PROBE = "student-after-training"
#: What a student seems to lack when another one is evaluated: codes that all rules about the end of training mask.
LACKING = ("KD307", "KD401", "KD402", "KD405", "KD501", "KD502", "KD504", "KD602", "KD604", "KD704", "KD705")
#: Smallest loss of accuracy that matters, as in the benchmark's definition of a mild fault.
ONE_POINT = 0.01
#: Change of the logits on the last training batch, over their size, that one more step and another mode do not make
#: without changing an answer.
MOVED = 0.2
#: Elements for each distinct value from which a weight is quantised: random ones differ nearly all.
ELEMENTS_PER_VALUE = 4


@dataclass(frozen=True)
class Drop:
    """How much worse the evaluated student is than the one of the last step, as far as it was recorded.

    how: "certainly" beyond the noise of either comparison, "perhaps" beyond a standard error, "none" when held-out
    accuracy is as logged, "unknown" where nothing was logged, or on other rows, and the last batch is too small to
    tell.
    """

    points: float | None
    how: Literal["certainly", "perhaps", "none", "unknown"]
    text: str


def drop(student: EvaluatedStudent) -> Drop:
    """Held-out accuracy against the last logged one, else accuracy on the last batch against what it was then."""
    on_batch, batch_error, text = _on_the_batch(student)
    if student.logged is not None:
        points = student.logged - student.evaluated
        said = f"{student.logged:.1%} was logged on held-out rows, {student.evaluated:.1%} is what it reaches"
        text = f"{said}; {text}" if text else said
        if points > max(ONE_POINT, SURE * student.error):
            return Drop(points, "certainly", text)
        if on_batch is not None and on_batch > SURE * batch_error and points > 0:
            return Drop(points, "certainly", text)
        if points <= max(ONE_POINT, student.error):
            return Drop(points, "none", text)
        # Other rows give other accuracies: between a standard error and two, only the same ones tell anything.
        return Drop(points, "perhaps" if student.same_rows else "unknown", text)
    if on_batch is not None and on_batch > SURE * batch_error:
        return Drop(on_batch, "certainly", text)
    return Drop(on_batch, "unknown", text or "nothing was logged to compare with")


def _on_the_batch(student: EvaluatedStudent) -> tuple[float | None, float, str]:
    if student.then is None or student.after is None or not student.batch:
        return None, math.inf, ""
    text = f"on its last training batch it was right on {student.then:.1%} and now is on {student.after:.1%}"
    errors = [standard_error(share, student.batch) for share in (student.then, student.after)]
    return student.then - student.after, math.hypot(*errors), text


def answers_change(student: EvaluatedStudent) -> bool:
    """Whether the final student answers its last training batch otherwise; True where that was not recorded."""
    if student.agreement is None or student.moved is None:
        return True
    return student.agreement < 1 - ONE_POINT or student.moved > MOVED


def is_quantised(student: EvaluatedStudent) -> bool:
    """Whether a weight has so few values that it must have been rounded to them."""
    few = student.weights is not None and student.weights <= LEVELS
    return few and (student.weight_elements or 0) >= ELEMENTS_PER_VALUE * (student.weights or 1)


def grid(student: EvaluatedStudent) -> tuple[str, ValueGrid] | None:
    """The output of the student whose values lie on the coarsest grid, with its name; None where none does."""
    for name, found in student.outputs:
        if found.step is not None and found.elements >= ELEMENTS_PER_VALUE * found.distinct:
            return name, found
    return None
