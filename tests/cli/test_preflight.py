"""``kddoctor preflight``: what kd_run.yaml names, before there is a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import in_a_process
from tests.treatment.recorded import CODE, REFERENCES, sick_run

TRAINED = """

def make_trained():
    torch.manual_seed(0)
    model, data = make_teacher(), _blobs(400, 5)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(data.tensors[0]), data.tensors[1]).backward()
        optimizer.step()
    print("trained")
    return model


def kd_loss(student, teacher, labels):
    from torch.nn import functional as F
    soft = F.kl_div((student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="batchmean")
    return 0.2 * F.cross_entropy(student, labels) + 0.8 * 9 * soft


def kd_loss_without_t_squared(student, teacher, labels):
    from torch.nn import functional as F
    soft = F.kl_div((student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="batchmean")
    return 0.2 * F.cross_entropy(student, labels) + 0.8 * soft


def few():
    return _blobs(8, 1)


def broken():
    raise ValueError("no such file")
"""


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Path]:
    """A directory with a manifest and code, and nothing recorded."""

    def made(**references: str) -> Path:
        (tmp_path / "blobs.py").write_text(CODE + TRAINED)
        code = {**REFERENCES, "teacher": "blobs:make_trained", "loss": "blobs:kd_loss", **references}
        manifest = {
            "task": "multiclass",
            "num_classes": 4,
            "distillation": {"loss": "kl", "temperature": 3.0, "alpha": 0.8},
            "code": code,
        }
        (tmp_path / "kd_run.yaml").write_text(json.dumps(manifest))
        return tmp_path

    return made


def test_a_sound_plan_is_ready(kddoctor, plan):
    answer = kddoctor("preflight", plan())
    assert answer.code == 0, answer.out + answer.err
    assert "READY" in answer.out.splitlines()[2]
    assert "READY: 0 failed" in answer.out.splitlines()[-1]


def test_what_the_code_prints_is_not_on_stdout(kddoctor, plan):
    answer = kddoctor("preflight", plan())
    assert "trained" in answer.err
    assert "trained" not in answer.out


def test_the_yaml_file_does_as_well_as_its_directory(kddoctor, plan):
    folder = plan()
    assert (
        kddoctor("preflight", folder / "kd_run.yaml").out.splitlines()[1:]
        == kddoctor("preflight", folder).out.splitlines()[1:]
    )


def test_a_fault_is_exit_1_with_code_fix_and_next_command(kddoctor, plan, tmp_path):
    answer = kddoctor("preflight", plan(loss="blobs:kd_loss_without_t_squared"), "--json", tmp_path / "out.json")
    assert answer.code == 1
    assert "FAIL" in answer.out
    assert answer.out.splitlines()[-1] == "Next  kddoctor explain KD202"
    data = json.loads((tmp_path / "out.json").read_text())
    assert (data["verdict"], data["ok"]) == ("sick", False)
    assert [check["codes"] for check in data["checks"] if check["status"] == "fail"] == [["KD202"]]


def test_exit_zero_reports_only(kddoctor, plan):
    assert kddoctor("preflight", plan(loss="blobs:kd_loss_without_t_squared"), "--exit-zero").code == 0


def test_too_little_data_is_exit_3(kddoctor, plan):
    answer = kddoctor("preflight", plan(val_data="blobs:few"))
    assert answer.code == 3
    assert "CANNOT TELL" in answer.out


@pytest.mark.parametrize("reference", ["blobs:broken", "blobs:nothing", "elsewhere:few"])
def test_code_that_does_not_work_is_one_line_and_exit_2(kddoctor, plan, reference):
    answer = kddoctor("preflight", plan(train_data=reference))
    assert answer.code == 2
    assert answer.out == ""
    assert "code.train_data" in answer.err
    assert "Traceback" not in answer.err


def test_nothing_to_read_is_exit_2(kddoctor, tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        answer = kddoctor("preflight", path)
        assert answer.code == 2
        assert answer.err.count("\n") == 1


def test_a_recorded_run_is_checked_with_its_own_teacher(kddoctor, tmp_path):
    answer = kddoctor("preflight", sick_run(tmp_path / "run", columns=[1, 0, 3, 2]))
    assert answer.code == 1
    assert "KD105" in answer.out


def test_ascii_terminals_get_ascii(plan):
    answer = in_a_process("preflight", plan(), PYTHONIOENCODING="ascii")
    assert answer.code == 0
    assert "ok READY" in answer.out
