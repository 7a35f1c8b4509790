"""Records of which less is left."""

from __future__ import annotations

import json

import pytest

from kddoctor.bench.tier import Tier, thinned
from kddoctor.engine import diagnose
from kddoctor.run import load
from tests import builders as b


@pytest.fixture
def run(tmp_path):
    return b.recorded_run(tmp_path / "run", observations={"graph": {}, "same_inputs": True})


def test_a_record_by_hand_has_no_key_of_our_recorder_alone(run):
    with thinned(run, Tier.BY_HAND) as part:
        assert json.loads((part / "observations.json").read_text()) == {"same_inputs": True, "teacher_training": False}
        assert (part / "kd_run.yaml").samefile(run / "kd_run.yaml")
        steps, whole = load(part).steps, load(run).steps
        assert (steps.student_logits.read() == whole.student_logits.read()).all()
        assert diagnose(load(part)).verdict == diagnose(load(run)).verdict
    assert json.loads((run / "observations.json").read_text())["graph"] == {}, "the record itself stays"
    assert not part.exists()


@pytest.mark.parametrize("tier", Tier)
def test_every_tier_can_be_read(run, tier):
    with thinned(run, tier) as part:
        assert load(part).splits
        assert (load(part).steps is None) == (tier in (Tier.NO_STEPS, Tier.PREDICTIONS_ONLY))
