"""``diagnose --live`` imports the run's own loss and X-rays it; without the option no code of the run is imported."""

import pytest

from kddoctor.run import load
from kddoctor.treatment.live import xray_of_run
from tests.cli.running import in_a_process
from tests.treatment.recorded import CODE, REFERENCES, sick_run

LOSS = """

def kd_loss(student, teacher, labels):
    from torch.nn import functional as F
    soft = F.kl_div((student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="batchmean")
    return 0.2 * F.cross_entropy(student, labels) + 0.8 * soft
"""


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "run"
    return sick_run(path, code={**REFERENCES, "loss": "blobs:kd_loss"}, source=CODE + LOSS)


def test_the_xray_stands_on_stderr(sick):
    answer = in_a_process("diagnose", sick, "--live", "--format", "json")
    assert answer.code == 1
    assert "X-ray of kd_loss: sick (KD202)" in answer.err
    assert "X-ray" not in answer.out


def test_without_the_option_there_is_none(sick):
    assert "X-ray" not in in_a_process("diagnose", sick).err


def test_a_run_that_names_no_loss_says_so(tmp_path):
    assert "names no code.loss" in xray_of_run(load(sick_run(tmp_path / "run", epochs=1)))


def test_a_loss_that_cannot_be_imported_is_one_line(tmp_path):
    run = sick_run(tmp_path / "run", code={**REFERENCES, "loss": "blobs:nothing"}, epochs=1)
    text = xray_of_run(load(run))
    assert text.startswith("X-ray not made: kd_run.yaml: code.loss is 'blobs:nothing'")
    assert "\n" not in text
