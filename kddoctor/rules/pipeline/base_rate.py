"""Whether a yes-or-no teacher has learnt how often the answer is yes: the first thing that any training teaches."""

from kddoctor.probes.deployment_measurements import ThresholdShifts
from kddoctor.rules.settings import Deviations

#: Standard errors within which a mean probability is the base rate, and by which that has to differ from one half,
#: where an untrained model's lies.
EQUAL: Deviations = 2.0
APART: Deviations = 4.0


def knows_base_rate(scores: ThresholdShifts | None) -> bool:
    """False where nothing tells, as where half of the answers are yes."""
    if scores is None:
        return False
    teacher = scores.teacher
    equal = abs(teacher.predicted - teacher.base_rate) <= EQUAL * teacher.error
    return equal and abs(0.5 - teacher.base_rate) > APART * teacher.error
