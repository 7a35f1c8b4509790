"""What speaks for a fault that no rule names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kddoctor.engine.measuring import measure
from kddoctor.engine.residual import weigh_residual
from kddoctor.probes.measurements import TeacherViews
from kddoctor.run import load
from tests.builders import recorded_run


@pytest.mark.parametrize(("skill", "told"), [(0.0, True), (0.09, True), (0.11, False), (0.9, False)])
def test_a_teacher_with_the_skill_of_untrained_ones_is_no_healthy_run(tmp_path, skill, told):
    """The area under the curve is 0.545 for a skill of 0.09: a run that keeps all of it keeps nothing."""
    measured = dict(measure(load(recorded_run(tmp_path / "run"))))
    views = measured[TeacherViews]
    assert isinstance(views, TeacherViews)
    assert views.own is not None
    sound = weigh_residual(measured)
    measured[TeacherViews] = replace(views, own=replace(views.own, auc=(1 + skill) / 2))
    found = weigh_residual(measured)
    assert any("of the possible skill" in text for text in found.unexplained) is told
    assert (found.log_odds > max(0, sound.log_odds)) is told
