"""Whether a student is behind: what several rules of optimisation and capacity ask before they call a run sick."""

import math

from kddoctor.probes.measurements import Gaps, TeacherViews
from kddoctor.probes.proportions import SURE, noise_of_difference
from kddoctor.rules.finding import Severity

#: Points below the teacher from which a student is behind it.
BEHIND = 0.02
#: Skill that a teacher's answers may lose inside the loop and still be its own.
OTHERS = 0.05


def behind(held_out: Gaps | None, points: float = BEHIND) -> bool | None:
    """Below the teacher by some points and more than noise, or below the labels-only twin; None where it is unknown."""
    if held_out is None:
        return None
    if held_out.surely_behind(points, noise_of_difference(1.0)):
        return True
    _, error = held_out.distances[-1]  # of the measure that a gain is told in
    return held_out.gained is not None and held_out.gained < -noise_of_difference(error)


def severity(held_out: Gaps | None, worst: Severity = "error") -> Severity:
    """A fault that has cost nothing so far is a note."""
    return "note" if behind(held_out) is False else worst


def skill_lost(teacher: TeacherViews | None) -> float:
    """Share of its skill that the teacher lacks inside the loop, where both are known; else 0.

    Rows that are harder than the held-out ones are so for the teacher itself as well: what it lacks on the training
    rows outside the loop, too, it has not lost inside; nor what so few rows as were recorded there may lack by chance.
    """
    if teacher is None or teacher.own is None or teacher.in_loop is None:
        return 0.0
    own = min((view for view in (teacher.own, teacher.own_train) if view is not None), key=lambda view: view.skill)
    lost = own.skill - teacher.in_loop.skill
    return lost if lost > SURE * math.hypot(own.skill_error, teacher.in_loop.skill_error) else 0.0
