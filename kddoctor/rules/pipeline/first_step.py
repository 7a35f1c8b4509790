"""Was the teacher better at the first recorded step than it is now?"""

import math

from kddoctor.probes.measurements import TeacherView
from kddoctor.probes.proportions import standard_error
from kddoctor.probes.student_path import StudentPath
from kddoctor.rules.settings import Deviations, Share

#: Accuracy that it has lost since, in points and in standard errors of a step, which has few rows and is one of many.
LOST: Share = 0.25
ERRORS: Deviations = 5.0


def better_at_first(path: StudentPath | None, now: TeacherView) -> bool:
    """Whether the teacher was right far more often at the first step than in this view, for certain.

    What was so from the start, such as another task or another preparation of its inputs, was so at the first step.
    """
    if path is None or path.begins_late:
        return False
    first, found = float(path.teacher_right[0]), now.validity
    error = math.hypot(standard_error(first, int(path.rows[0])), standard_error(found.accuracy, found.n))
    return first - found.accuracy > max(LOST, ERRORS * error)
