"""Sentences and checks that the rules about the end of training share."""

import math
from dataclasses import dataclass
from typing import Literal

from kddoctor.probes.deployment_measurements import EvaluatedStudent
from kddoctor.probes.proportions import SURE, standard_error
from kddoctor.probes.value_grid import LEVELS, ValueGrid
from kddoctor.rules.finding import Grade

PROBE = "student-after-training"
#: What a student seems to lack when another one is evaluated: codes that all rules about the end of training mask.
LACKING = ("KD307", "KD401", "KD402", "KD405", "KD501", "KD502", "KD504", "KD602", "KD604", "KD704", "KD705")
#: Smallest loss of accuracy that matters, as in the benchmark's definition of a mild fault.
ONE_POINT = 0.01
#: Difference of accuracies, one of which was logged with three digits, that are the same.
ROUNDED = 5e-4
#: Change of the logits on the last training batch, over their size, that one more step and another mode do not make
#: without changing an answer.
MOVED = 0.2
#: The same of rows whose training went on for as long as it takes to record a step.
STIRRED = 0.05
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
            # Training rows went the same way as held-out ones: a student that is as good there as ever says that what
            # was logged is another figure than this.
            as_ever = (
                student.written is None and student.answers is not None and _as_ever(student, on_batch, batch_error)
            )
            return Drop(points, "unknown" if as_ever and on_batch is not None else "certainly", text)
        if on_batch is not None and on_batch > SURE * batch_error and points > ROUNDED:
            return Drop(points, "certainly", text)
        if points <= max(ONE_POINT, student.error):
            return Drop(points, "none", text)
        # Other rows give other accuracies: between a standard error and two, only the same ones tell anything.
        return Drop(points, "perhaps" if student.same_rows else "unknown", text)
    if on_batch is not None and on_batch > SURE * batch_error:
        return Drop(on_batch, "certainly", text)
    return Drop(on_batch, "unknown", text or "nothing was logged to compare with")


def _as_ever(student: EvaluatedStudent, on_batch: float | None, batch_error: float) -> bool:
    """Whether training rows say that the student did not get worse as held-out ones do.

    Few of them say neither. Where what was logged may be of other rows, they have to say that it did.
    """
    assert student.logged is not None
    lost = on_batch or 0.0
    if student.same_rows:
        return lost + SURE * batch_error < student.logged - student.evaluated
    return lost <= batch_error


def _on_the_batch(student: EvaluatedStudent) -> tuple[float | None, float, str]:
    if student.then is None or student.after is None or not student.batch:
        return None, math.inf, ""
    text = f"on its last training rows it was {student.opinion} on {student.then:.1%} and now is on {student.after:.1%}"
    errors = [standard_error(share, student.batch) for share in (student.then, student.after)]
    return student.then - student.after, math.hypot(*errors), text


def answers_change(student: EvaluatedStudent) -> bool:
    """Whether the final student answers its last training rows otherwise; True where that was not recorded."""
    if student.agreement is None or student.moved is None:
        return student.moved is None or student.moved > STIRRED
    return student.agreement < 1 - ONE_POINT or student.moved > MOVED


#: Distance of the final answers from those of an earlier step, as a share of that from those of the last steps, from
#: which they are an earlier student's; and the part of the run that is earlier. The answers of a student that is fed
#: otherwise are nearest to those that it gave in the end.
EARLIER, FIRST_PART = 0.75, 0.6
#: Distance beyond which answers are nobody's earlier ones: half of that of unrelated answers, which is the root of two.
#: Recorded steps may lie far apart, so that an earlier student need not be one of them.
RELATED = 0.7
#: Share of the change of all answers that is one constant for all rows, and change of the class whose logits moved the
#: least over that of the one that moved the most: what happens to some weights of the last layer, and to no input.
CONSTANT, UNTOUCHED = 0.95, 0.2


def other_weights(student: EvaluatedStudent) -> str | None:
    """What only other weights make of the answers to training rows, in words; None where nothing of the kind is seen.

    Read from recorded steps, for records in which nobody watched the weights themselves.
    """
    answers = student.answers
    if answers is None or answers.late <= MOVED / 2:
        return None
    for apart, late in ((answers.distance, answers.late), (answers.shape, answers.late_shape)):
        nearest = int(apart.argmin())
        if nearest < FIRST_PART * len(apart) and apart[nearest] < min(RELATED, EARLIER * late):
            return (
                f"its answers are nearest to those of recorded step {nearest + 1} of {len(apart)} "
                f"({apart[nearest]:.2f} of their size apart, {late:.2f} from those of the last steps)"
            )
    if answers.still is None or answers.moved is None:
        return None
    if answers.offset > CONSTANT:
        return f"{answers.offset:.0%} of the change of its logits is the same for every row, as where biases were lost"
    if answers.still < UNTOUCHED * answers.moved:
        return (
            "the logits of some classes are what they were and those of others are not, as where a part of the last "
            "layer was lost"
        )
    return None


def grade_of(student: EvaluatedStudent, worse: Drop) -> Grade:
    """How the evaluated student was held against the trained one: on the same rows, or by two figures."""
    held = student.written is not None or student.answers is not None
    return Grade.INTERVENTIONAL if worse.how == "certainly" and held else Grade.STATISTICAL


def is_quantised(student: EvaluatedStudent) -> bool:
    """Whether a weight has so few values that it must have been rounded to them."""
    head = student.head
    if head is not None and head.distinct <= LEVELS and head.elements >= ELEMENTS_PER_VALUE * head.distinct:
        return True
    few = student.weights is not None and student.weights <= LEVELS
    return few and (student.weight_elements or 0) >= ELEMENTS_PER_VALUE * (student.weights or 1)


def values_of(student: EvaluatedStudent) -> str:
    """How few values the quantised weights have."""
    head = student.head
    if head is not None and head.distinct <= LEVELS and (student.weights is None or student.weights > LEVELS):
        return (
            f"the weights by which the logits follow from the last recorded layer have {head.distinct} different "
            f"values in {head.elements}"
        )
    return f"{student.weights} different values in {student.weight_elements} weights"


def grid(student: EvaluatedStudent) -> tuple[str, ValueGrid] | None:
    """The output of the student whose values lie on the coarsest grid, with its name; None where none does."""
    for name, found in student.outputs:
        if found.step is not None and found.elements >= ELEMENTS_PER_VALUE * found.distinct:
            return name, found
    return None
