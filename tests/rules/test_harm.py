"""Whether anything was lost is asked of the metric of the task: where a yes is rare, of the ranking as well."""

import numpy as np
import pytest

from kddoctor.probes.example_gaps import ExampleGapsProbe
from kddoctor.probes.measurements import Gaps, Rivals
from kddoctor.probes.paired_retention import retention_of_scores
from kddoctor.rules.harm import harm_of
from kddoctor.rules.optimisation.harm import behind, severity

ROWS, YES = 2000, 100


def clicks(student_knows: float) -> Gaps:
    """One in twenty is a yes, and nobody is ever sure of one: every answer is a no. Knows: shift of a yes's score."""
    draw = np.random.default_rng(0)
    labels = np.zeros(ROWS, np.int64)
    labels[:YES] = 1
    teacher, student, twin = (
        draw.normal(-6.0, 0.5, ROWS) + knows * labels for knows in (1.0, student_knows, student_knows - 0.1)
    )
    probe = ExampleGapsProbe(2)
    logits = [np.column_stack([np.zeros(ROWS), scores]) for scores in (teacher, student, twin)]
    probe.update(logits[0], logits[1], labels, logits[2])
    pairs = [
        retention_of_scores(one, other, labels) for one, other in ((teacher, student), (teacher, twin), (twin, student))
    ]
    assert pairs[0] is not None
    found = probe.compute()
    return Gaps("val", found, found.baseline_accuracy, Rivals(pairs[0], pairs[1], pairs[2]))


@pytest.mark.parametrize(("knows", "lost"), [(1.0, False), (0.2, True)])
def test_a_student_that_ranks_badly_is_behind_though_it_is_right_as_often(knows, lost):
    held_out = clicks(knows)
    assert held_out.gaps.student_accuracy == held_out.gaps.teacher_accuracy == 1 - YES / ROWS
    assert harm_of(held_out).clearly_behind is lost
    assert behind(held_out) is lost
    assert severity(held_out) == ("error" if lost else "note")


def test_what_was_gained_is_of_the_ranking():
    held_out = clicks(0.5)
    assert held_out.gaps.student_accuracy == held_out.baseline_accuracy
    assert held_out.gained is not None
    assert 0 < held_out.gained < 0.2
    assert held_out.metric == "the area under the ROC curve"
