"""What made a teacher right more often than sure, where it is surest: wrong labels, smoothing, or a lost scale."""

from kddoctor.probes.measurements import Gaps
from kddoctor.probes.proportions import SURE
from kddoctor.probes.surest_rows import SurestRows
from kddoctor.rules.settings import Factor, Share

#: Share of an even one that the least likely class has where a teacher is surest: 0.001 of ordinary teachers, 0.01
#: where the task is of few words, none of a teacher with decoys. And points by which the teacher is better than what
#: learns of it.
ALL_OF_THEM: Share = 0.02
AHEAD: Share = 0.05
#: Of what it is right on, the part that a teacher with a lost scale is sure of. Labels of which half were wrong would
#: leave as little, and no teacher that is right.
HALF: Factor = 0.5
#: Spread of its other answers over their distance from the top one, from which they are in order: 0.21 to 0.63 of
#: teachers whose scale was lost, 0.04 to 0.13 of smoothed ones (eight tasks).
APART: Share = 0.17


def ahead(held_out: Gaps) -> bool:
    """Whether the teacher is clearly better than student and twin: one that was trained too little is not."""
    best = max(held_out.gaps.student_accuracy, held_out.baseline_accuracy or 0.0)
    return held_out.gaps.teacher_accuracy - best > AHEAD


def unscaled(surest: SurestRows, held_out: Gaps) -> bool:
    """Whether a teacher that is ahead is not half as sure as right, and has its answers in order.

    A factor leaves the order of a row's logits and the proportions of their distances; smoothing makes others alike.
    """
    half_as_sure = surest.confidence + SURE * surest.noise < HALF * surest.right
    in_order = surest.relative_spread >= APART and surest.evenness >= ALL_OF_THEM
    return ahead(held_out) and half_as_sure and in_order
