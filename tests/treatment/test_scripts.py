"""A user's own training script, run again with its settings changed: as documented, failing, stopped, gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.numpy import save_file

import kddoctor
from kddoctor.errors import RunError, UsageError
from kddoctor.run import load
from kddoctor.treatment.prescription import Change, Prescription
from kddoctor.treatment.scripts import training, treating
from kddoctor.treatment.treat import treat
from kddoctor.treatment.work_directory import checkpoint_directory
from tests.cli.running import Command
from tests.treatment.own_loop import ROOT, changed_copy, documented, record_documented

#: Records what the sick run holds, without training anything.
AGAIN = "import os, shutil\nshutil.copytree({run!r}, os.environ['KDDOCTOR_RUN_DIR'])\n"


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_documented(tmp_path_factory.mktemp("project"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def again(sick: Path, copy: Path, before: str = "", **code: object) -> Path:
    """A copy of the run whose script does something first, and then records what the run had recorded."""
    return changed_copy(sick, copy, before + AGAIN.format(run=str(sick)), **code)


def prescription_of(run: Path, changes: dict[str, object]) -> Prescription:
    listed = tuple(Change(key=k, after=v, finding="KD302", name="temperature-too-high") for k, v in changes.items())
    return Prescription(run=run.name, changes=listed)


def test_the_documented_loop_is_cured_as_documented(command, sick, tmp_path):
    before = contents(sick)
    done = command("treat", sick, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert "confirmed by treatment: KD202" in done.out
    assert "the treated run is healthy" in done.out
    treated = load(tmp_path / "out")
    assert kddoctor.diagnose(treated).cause_codes == []
    assert contents(sick) == before
    settings = documented("config.yaml").replace("times_T_squared: false", "times_T_squared: true")
    assert (tmp_path / "out" / "config.yaml").read_text("utf-8") == settings
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    told = json.loads((tmp_path / "out" / "treatment.json").read_text("utf-8"))
    assert told["command"] == "python train.py --config config.yaml"
    assert told["changes"] == {"distillation.temperature_squared": True}
    assert told["helped"]
    assert (told["epochs"], told["kept_epoch"], told["seed"], told["cost"]["of_one"]) == (20, None, 0, 1.0)
    prescription = yaml.safe_load((tmp_path / "out" / "prescription.yaml").read_text("utf-8"))
    assert [change["finding"] for change in prescription["changes"]] == ["KD202"]
    # The treated run names the same script, so that it can be treated in its turn.
    assert treated.manifest.code == load(sick).manifest.code


def test_a_dry_run_shows_the_settings_and_runs_nothing(command, sick, tmp_path):
    run = changed_copy(sick, tmp_path / "run", "raise SystemExit('it was run')")
    done = command("treat", run, "--output", tmp_path / "out", "--dry-run", "--epochs", "3")
    assert done.code == 0, done.err
    for line in (
        "-  times_T_squared: false",
        "+  times_T_squared: true",
        "+optim: {lr: 0.02, batch_size: 64, epochs: 3}",
    ):
        assert f"  {line}\n" in done.out
    assert "python train.py --config config.yaml" in done.out
    assert "Time   0.15 times what the script takes with the run's own settings" in done.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_a_script_that_fails_leaves_one_line_and_its_log(command, sick, tmp_path):
    run = changed_copy(sick, tmp_path / "run", "print('half way')\nraise ValueError('no data\\nthere')\n")
    done = command("treat", run, "--output", tmp_path / "out")
    assert done.code == 2
    log = tmp_path / "out.script.log"
    last = done.err.splitlines()[-1]
    assert last == f"kddoctor: train.py: failed with exit status 1: there (its last output is in {log})"
    assert "half way" in done.err
    assert "ValueError: no data" in log.read_text("utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.script.log", "run"]


def test_what_a_failed_script_had_saved_is_kept_for_another_try(sick, tmp_path):
    fails = "from pathlib import Path\nPath('last.pt').write_text('epoch 3')\nraise SystemExit(7)\n"
    run = changed_copy(sick, tmp_path / "run", fails)
    with pytest.raises(UsageError, match="--resume runs it again beside the files that it saved"):
        treat(load(run), tmp_path / "out", quiet=True)
    mended = "import os\nassert open('last.pt').read() == 'epoch 3'\nassert os.environ['KDDOCTOR_RESUME'] == '1'\n"
    (run / "train.py").write_text(mended + AGAIN.format(run=str(sick)), "utf-8")
    treat(load(run), tmp_path / "out", resume=True, quiet=True)
    assert (tmp_path / "out" / "script_files" / "last.pt").read_text("utf-8") == "epoch 3"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_a_script_that_records_nothing_is_told_so(sick, tmp_path):
    run = changed_copy(sick, tmp_path / "run", "pass")
    with pytest.raises(UsageError, match=r"train\.py: ended without a record; does it call kddoctor\.record"):
        treat(load(run), tmp_path / "out", quiet=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


HANGS = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path("started.partial").write_text(str(child.pid))
Path("started.partial").replace("started")
time.sleep(600)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_a_treatment_stops_the_script_and_all_that_it_started(sick, tmp_path, number, code):
    run = changed_copy(sick, tmp_path / "run", HANGS)
    command = [sys.executable, "-m", "kddoctor", "treat", str(run), "--output", str(tmp_path / "out")]
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, env={**os.environ, **path}, stderr=subprocess.PIPE, text=True) as process:
        started = checkpoint_directory(tmp_path / "out") / "script-0" / "code" / "started"
        deadline = time.monotonic() + 300  # of a machine that does much else
        while not started.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        child = psutil.Process(int(started.read_text()))
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "out").exists()
    assert started.exists()
    if number == signal.SIGINT:
        assert said.splitlines()[-1].endswith("--resume")


def test_a_finished_script_whose_diagnosis_was_interrupted_is_not_run_again(sick, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(*_arguments, **_options):
        raise StopError

    run = again(sick, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(treating, "result_of", stop)
        with pytest.raises(StopError):
            treat(load(run), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="add --resume"):
        treat(load(run), tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match="belongs to another treatment"):
        treat(load(run), tmp_path / "out", epochs=3, resume=True, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(training, "run_script", stop)
        treat(load(run), tmp_path / "out", resume=True, quiet=True)
    assert (tmp_path / "out" / "treatment.json").is_file()


def test_no_shell_sees_the_arguments(sick, tmp_path):
    said = "import json, sys\nopen('said.json', 'w').write(json.dumps(sys.argv[1:]))\n"
    run = again(sick, tmp_path / "run", said, entry="train.py '$HOME' ; touch *.py && 'two words'")
    treat(load(run), tmp_path / "out", quiet=True)
    written = tmp_path / "out" / "script_files" / "said.json"
    assert json.loads(written.read_text("utf-8")) == ["$HOME", ";", "touch", "*.py", "&&", "two words"]


def test_flags_and_settings_may_be_mixed(sick, tmp_path):
    keys = {
        "distillation.temperature_squared": "--t-squared",
        "training.epochs": "--epochs",
        "training.seed": "trainer.seed=",
    }
    said = "import json, sys\nopen('said.json', 'w').write(json.dumps(sys.argv[1:]))\n"
    run = again(sick, tmp_path / "run", said, entry="train.py --epochs=20 --name x", config=None, keys=keys)
    result = treat(load(run), tmp_path / "out", epochs=7, seeds=2, quiet=True)
    written = tmp_path / "out" / "script_files" / "said.json"
    assert json.loads(written.read_text("utf-8")) == ["--epochs=7", "--name", "x", "--t-squared", "trainer.seed=0"]
    # Treated again, it starts from where this treatment had it.
    entry = "train.py --epochs=7 --name x --t-squared trainer.seed=0"
    assert load(tmp_path / "out").manifest.code.entry == entry
    assert [other.seed for other in result.seeds] == [1]
    assert result.cost.trainings == 2


def test_epochs_that_are_asked_for_go_before_prescribed_ones(sick, tmp_path):
    given = prescription_of(sick, {"training.epochs": 60})
    for asked, text in ((None, "epochs: 60}"), (20, "epochs: 20}"), (5, "epochs: 5}")):
        assert text in treating.plan_script(load(sick), prescription=given, epochs=asked).changed.settings


def test_settings_in_json_are_changed_where_the_script_reads_them(sick, tmp_path):
    said = "import json\nassert json.load(open('conf/c.json')) == {'kd': {'t2': True}, 'x': [1]}\n"
    keys = {"distillation.temperature_squared": "kd.t2"}
    run = again(sick, tmp_path / "run", said, config="conf/c.json", keys=keys)
    (run / "real").mkdir()
    (run / "conf").mkdir()
    (run / "real" / "c.json").write_text('{"kd": {"t2": false}, "x": [1]}', "utf-8")
    (run / "conf" / "c.json").symlink_to(run / "real" / "c.json")
    treat(load(run), tmp_path / "out", quiet=True)
    assert json.loads((tmp_path / "out" / "conf" / "c.json").read_text("utf-8"))["kd"] == {"t2": True}
    assert json.loads((run / "real" / "c.json").read_text("utf-8"))["kd"] == {"t2": False}


def test_settings_that_were_not_taken_up_are_pointed_out(sick, tmp_path, capfd):
    run = again(sick, tmp_path / "run", keys={"distillation.temperature": "kd.T"})
    given = prescription_of(run, {"distillation.temperature": 2.0})
    treat(load(run), tmp_path / "out", prescription=given)
    said = capfd.readouterr().err
    assert "distillation.temperature was set to 2.0, but the treated run records 8.0" in said


def test_a_setting_that_was_not_what_the_run_recorded_is_pointed_out(sick, tmp_path, capfd):
    run = again(sick, tmp_path / "run", keys={"distillation.alpha": "kd.alpha"})
    settings = (run / "config.yaml").read_text("utf-8")
    (run / "config.yaml").write_text(settings.replace("alpha: 0.95", "alpha: 0.05"), "utf-8")
    treat(load(run), tmp_path / "out", prescription=prescription_of(run, {"distillation.alpha": 0.5}))
    said = capfd.readouterr().err
    assert "config.yaml: kd.alpha is 0.05 but kd_run.yaml says distillation.alpha 0.95" in said


def test_changes_without_a_place_are_listed_for_the_author(sick, tmp_path):
    run = again(sick, tmp_path / "run", keys={"distillation.temperature": "kd.T"})
    given = prescription_of(run, {"distillation.temperature": 2.0, "treatment.clip_gradients": 1.0})
    treat(load(run), tmp_path / "out", prescription=given, quiet=True)
    written = yaml.safe_load((tmp_path / "out" / "prescription.yaml").read_text("utf-8"))
    assert [change["key"] for change in written["changes"]] == ["distillation.temperature"]
    assert "edit your loop" in written["manual"][0]["what"]
    assert "clip_grad_norm_(student.parameters(), 1.0)" in written["manual"][0]["what"]


REFUSED = {
    "nothing has a place": (
        {"keys": {"training.seed": "seed"}},
        {},
        r"code\.keys has none of what is to be changed \(distillation\.temperature_squared\); .*<key in config\.yaml>",
    ),
    "a key that is not in the file": (
        {"keys": {"distillation.temperature_squared": "kd.times_t_squared"}},
        {},
        r"config\.yaml: has no kd\.times_t_squared.*did you mean times_T_squared\?",
    ),
    "epochs without a place": (
        {"keys": {"distillation.temperature_squared": "kd.times_T_squared"}},
        {"epochs": 3},
        r"code\.keys lacks training\.epochs",
    ),
    "seeds without a place": (
        {"keys": {"distillation.temperature_squared": "kd.times_T_squared"}},
        {"seeds": 2},
        r"--seeds needs training\.seed in code\.keys",
    ),
    "an unknown key": (
        {"keys": {"distillation.temprature": "kd.T"}},
        {},
        r"code\.keys is a mapping with 'distillation\.temprature'.*such as distillation\.temperature",
    ),
    "a flag without a name": ({"keys": {"training.epochs": "--"}}, {}, r"code\.keys\.training\.epochs is '--'"),
    "a script that is not there": ({"entry": "other.py"}, {}, r"code\.entry is 'other\.py'; expected a file"),
    "settings that are not there": ({"config": "other.json"}, {}, r"code\.config is 'other\.json'; expected a file"),
    "no script": ({"entry": None, "config": None, "keys": None}, {"script": True}, r"code\.entry is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_is_refused_in_one_line(sick, tmp_path, name):
    code, options, says = REFUSED[name]
    run = changed_copy(sick, tmp_path / "run", "raise SystemExit('it was run')", **code)
    with pytest.raises((UsageError, RunError), match=says) as caught:
        treat(load(run), tmp_path / "out", quiet=True, **options)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


OUTSIDE = "a Python file inside code.path and its arguments"
IMPOSSIBLE = {
    "a script above": ({"entry": "../train.py"}, OUTSIDE),
    "an absolute script": ({"entry": "/tmp/train.py"}, OUTSIDE),
    "another program": ({"entry": "bash -c 'rm x'"}, OUTSIDE),
    "no words": ({"entry": "''"}, OUTSIDE),
    "an open quotation": ({"entry": "train.py 'x"}, "a command line (No closing quotation)"),
    "settings above": ({"config": "../config.yaml"}, "a file inside code.path"),
    "settings of another kind": ({"config": "config.toml"}, "ends in .yaml, .yml, .json"),
    "keys without a file": ({"config": None}, "code.config is missing, but code.keys names 'kd."),
    "keys without a script": ({"entry": None}, "code.entry is missing"),
    "a place that is no text": ({"keys": {"training.epochs": 3}}, "code.keys.training.epochs is 3; expected text"),
    "an empty place": ({"keys": {"training.epochs": ""}}, "expected text that is not empty"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_code_section_that_cannot_be_is_refused_in_one_line(sick, tmp_path, name):
    code, says = IMPOSSIBLE[name]
    run = changed_copy(sick, tmp_path / "run", **code)
    with pytest.raises(RunError) as caught:
        load(run)
    assert says in str(caught.value)
    assert str(caught.value).startswith("kd_run.yaml: code.")


def test_a_link_out_of_the_run_is_no_script(sick, tmp_path):
    run = changed_copy(sick, tmp_path / "run")
    shutil.move(run / "train.py", tmp_path / "elsewhere.py")
    (run / "train.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(RunError, match=r"train\.py: is a link that leaves"):
        treat(load(run), tmp_path / "out", quiet=True)


def test_the_new_keys_of_the_manifest_are_known(sick):
    assert load(sick).warnings == ()


def test_functions_go_before_the_script_unless_it_is_asked_for(sick, tmp_path):
    functions = dict.fromkeys(("teacher", "student", "train_data", "val_data"), "blobs:make")
    run = again(sick, tmp_path / "run", **functions)
    with pytest.raises(RunError, match=r"code\.teacher is 'blobs:make'"):
        treat(load(run), tmp_path / "out", quiet=True)
    assert treat(load(run), tmp_path / "out", script=True, quiet=True).command


def test_the_sick_students_weights_are_not_taken_for_the_treated_ones(sick, tmp_path):
    run = again(sick, tmp_path / "run", "import os\nassert not os.path.exists('checkpoints/student.safetensors')\n")
    (run / "checkpoints").mkdir()
    for model in ("teacher", "student"):
        save_file({"w": load(sick).predictions("val").labels.read()}, run / "checkpoints" / f"{model}.safetensors")
    treat(load(run), tmp_path / "out", quiet=True)
    assert [p.name for p in (tmp_path / "out" / "checkpoints").iterdir()] == ["teacher.safetensors"]
