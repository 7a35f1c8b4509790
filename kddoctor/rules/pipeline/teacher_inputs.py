"""Are the inputs of teacher and student prepared in the same way?"""

import math

from kddoctor.probes.passes_again import PassesAgain
from kddoctor.probes.proportions import SURE
from kddoctor.probes.targets_again import TargetsAgain
from kddoctor.probes.targets_in_loop import TargetsInLoop
from kddoctor.rules.settings import Correlation, Distance, Share
from kddoctor.run.observations import InputFacts, Observations

#: Differences of mean and standard deviation, in standard deviations, that random views of one pipeline leave.
ALIKE = 0.05
#: Share of the targets of late steps that are found among the first ones where each view of a row is drawn anew.
RARELY: Share = 0.1
#: A frozen teacher does not move at all; float32 round trips stay below this.
MOVED: Share = 1e-5
#: Distance of histograms of classes by which a teacher prefers some of them; a few hundred rows differ by half of it.
SKEWED: Distance = 0.15
#: Correlation of targets with what the teacher says of the student's inputs from which they are as good as that: nine
#: tenths of their variance. Light noise for the student alone leaves 0.99, a crop or a shift 0.6 to 0.9 (convention).
NEARLY_THE_SAME: Correlation = 0.95
#: Distance from 1 of their slope on what the teacher says that leaves them as they are (convention).
SAME_SIZE: Share = 0.1


def inputs_alike(seen: Observations | None) -> bool | None:
    """Whether shape, mean and spread of both models' inputs in the loop agree; None where they were not recorded."""
    places = {} if seen is None or seen.inputs is None else seen.inputs
    student, teacher = places.get("loop_student"), places.get("loop_teacher")
    if student is None or teacher is None or None in (student.mean, student.std, teacher.mean, teacher.std):
        return None
    return student.shape == teacher.shape and _close(student, teacher)


def changed_in_loop(seen: Observations | None, role: str) -> bool | None:
    """Whether what this model got in the loop differs from the training data themselves; None where unknown."""
    places = {} if seen is None or seen.inputs is None else seen.inputs
    given, data = places.get(f"loop_{role}"), places.get("train")
    if given is None or data is None or None in (given.mean, given.std, data.mean, data.std):
        return None
    return given.shape != data.shape or not _close(given, data)


def not_random(seen: Observations | None) -> bool:
    """Whether the same training example, drawn several times, was the same each time."""
    return seen is not None and seen.augmented_views is not None and seen.augmented_views.random is False


def drawn_anew(again: TargetsAgain | None, seen: Observations | None) -> bool:
    """Whether the teacher, which did not change, answered otherwise each time that a row came by.

    Targets are kept by what the student got, so that this is known only where a row was the same to it each time.
    """
    still = seen is not None and seen.teacher_drift is not None and seen.teacher_drift <= MOVED
    return again is not None and again.found <= RARELY and still


def as_good_as_own(targets: TargetsInLoop | None) -> bool:
    """Whether targets that differ from what the teacher says of the student's inputs do so next to nothing."""
    if targets is None or abs(targets.slope - 1) > SAME_SIZE:
        return False
    # Of all values as well: offsets of whole classes show there alone.
    return min(targets.correlation, targets.changed_correlation) >= NEARLY_THE_SAME


def badly_prepared(both: PassesAgain | None, same_inputs: float | None, training: bool | None) -> bool:
    """Whether the loss's targets are worse than a second pass over the same rows, by what is no random view of them.

    Either both passes give a row the same answer each time, so that nothing was drawn; or the teacher is known to have
    had tensors of its own in evaluation mode, and with them is surer than with the student's, or prefers some classes
    more: a view that is harder to read makes it less sure of all of them.
    """
    if both is None or both.worse - both.better <= SURE * math.sqrt(both.worse + both.better):
        return False
    if both.targets_stay or both.own_stays:
        return both.targets_stay and both.own_stays
    return same_inputs == 0 and training is False and (both.surer > 0 or both.skewed > SKEWED)


def _close(one: InputFacts, other: InputFacts) -> bool:
    assert one.mean is not None
    assert one.std is not None
    assert other.mean is not None
    assert other.std is not None
    scale = max(one.std, other.std)
    return scale == 0 or (abs(one.mean - other.mean) <= ALIKE * scale and abs(one.std - other.std) <= ALIKE * scale)


def described(facts: InputFacts) -> str:
    """Mean and spread, for a sentence."""
    return f"mean {facts.mean:.3g}, s.d. {facts.std:.3g}"
