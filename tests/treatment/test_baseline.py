"""A baseline trains the student's labels-only twin from the run's own code, and adds it without touching the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import kddoctor
from kddoctor.errors import RunError, UsageError
from kddoctor.run import load
from kddoctor.treatment import labels_only
from kddoctor.treatment.baseline import train_baseline
from kddoctor.treatment.treat import treat
from tests.treatment.recorded import CODE, EPOCHS, REFERENCES, sick_run

ADDED_TO = {"observations.json", "predictions/train.safetensors", "predictions/val.safetensors"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sick_run(tmp_path_factory.mktemp("recorded") / "run")


@pytest.fixture
def run(recorded: Path, tmp_path: Path) -> Path:
    return shutil.copytree(recorded, tmp_path / "run")


def files(path: Path) -> dict[str, bytes]:
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.suffix not in (".pyc", "")}


def arrays(path: Path, split: str) -> tuple[dict[str, bytes], object]:
    with safe_open(path / "predictions" / f"{split}.safetensors", "np") as held:
        names = held.keys()
        return {name: held.get_tensor(name).tobytes() for name in names}, held.metadata()


def logits(path: Path, split: str = "val") -> np.ndarray:
    array = load(path).predictions(split).baseline_logits
    assert array is not None
    return array.read()


def test_it_adds_the_answers_on_every_split_and_leaves_the_rest_alone(run):
    before, held = files(run), {split: arrays(run, split) for split in ("train", "val")}
    result = train_baseline(load(run), quiet=True)
    after = files(run)
    assert {name for name in after if after[name] != before.get(name)} == ADDED_TO
    assert not before.keys() - after.keys()
    for split, (was, metadata) in held.items():
        now, same_metadata = arrays(run, split)
        assert {name: now[name] for name in was} == was
        assert (now.keys() - was.keys(), same_metadata) == ({"baseline_logits"}, metadata)
    told = json.loads(after["observations.json"])
    assert told.pop("baseline") == {"metric": result.metric, "epochs": EPOCHS, "seed": 0}
    assert told == json.loads(before["observations.json"])
    assert not [p for p in run.parent.iterdir() if p.name != "run"]


def test_the_diagnosis_compares_with_it(run):
    assert kddoctor.diagnose(load(run)).gap.baseline is None
    result = train_baseline(load(run), quiet=True)
    diagnosis = kddoctor.diagnose(load(run))
    assert diagnosis.gap.baseline == pytest.approx(result.metric, abs=1e-4)
    assert diagnosis.gap == result.gap
    assert "KD114" not in {finding.code for finding in diagnosis.findings}


def test_it_is_the_loop_of_a_treatment_at_alpha_nought(run, tmp_path):
    # At alpha 0 a treatment trains on labels alone, too: by the same seeds, batches and rates.
    manifest = run / "kd_run.yaml"
    diagnosis = kddoctor.diagnose(load(run))
    manifest.write_text(manifest.read_text("utf-8").replace("alpha: 0.8", "alpha: 0.0"), "utf-8")
    treat(load(run), tmp_path / "treated", diagnosis=diagnosis, quiet=True)
    train_baseline(load(run), quiet=True)
    np.testing.assert_allclose(
        logits(run), load(tmp_path / "treated").predictions("val").student_logits.read(), atol=1e-5
    )


def test_a_new_directory_leaves_the_run_untouched(run, tmp_path):
    before = files(run)
    train_baseline(load(run), output=tmp_path / "new", quiet=True)
    assert files(run) == before
    new = files(tmp_path / "new")
    assert {name for name in new if new[name] != before[name]} == ADDED_TO
    with pytest.raises(UsageError, match="is not empty"):
        train_baseline(load(run), output=tmp_path / "new", quiet=True)


def test_the_same_run_gives_the_same_baseline(run, tmp_path):
    for name in ("one", "two"):
        train_baseline(load(run), output=tmp_path / name, quiet=True)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_model_of_the_teachers_make_stands_beside_it(run):
    train_baseline(load(run), as_teacher=True, epochs=2, quiet=True)
    held = load(run)
    assert held.predictions("val").baseline_logits is None
    assert held.predictions("val").teacher_twin_logits.shape == (200, 4)
    assert (held.observations.teacher_twin.epochs, held.observations.baseline) == (2, None)
    assert held.warnings == ()


def test_the_teachers_weights_are_not_needed(run):
    shutil.rmtree(run / "checkpoints")
    assert train_baseline(load(run), epochs=1, quiet=True).epochs == 1


def test_a_baseline_that_is_there_is_replaced_only_when_asked(run):
    train_baseline(load(run), epochs=1, quiet=True)
    first = logits(run)
    with pytest.raises(UsageError, match="holds baseline_logits already"):
        train_baseline(load(run), quiet=True)
    train_baseline(load(run), overwrite=True, quiet=True)
    assert not np.array_equal(logits(run), first)


class _StopError(Exception):
    pass


def test_an_interrupted_baseline_goes_on_bit_for_bit(run, tmp_path, monkeypatch):
    train_baseline(load(run), output=tmp_path / "whole", quiet=True)
    before = files(run)

    def stop(epoch: int, _epochs: int, _accuracy: float) -> None:
        if epoch == 3:
            raise _StopError

    with monkeypatch.context() as patch:
        ran = labels_only.train_labels_only
        patch.setattr(labels_only, "train_labels_only", lambda *a, **k: ran(*a, **{**k, "progress": stop}))
        with pytest.raises(_StopError):
            train_baseline(load(run), quiet=True)
    assert files(run) == before
    with pytest.raises(UsageError, match=r"an interrupted baseline lies in .* add --resume"):
        train_baseline(load(run), quiet=True)
    with pytest.raises(UsageError, match="belongs to another baseline"):
        train_baseline(load(run), epochs=9, resume=True, quiet=True)
    train_baseline(load(run), resume=True, quiet=True)
    assert files(run) == files(tmp_path / "whole")


def test_a_killed_baseline_goes_on_bit_for_bit(run, tmp_path):
    train_baseline(load(run), output=tmp_path / "whole", epochs=40, quiet=True)
    before = files(run)
    command = [sys.executable, "-c", KILLED, str(run)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(kddoctor.__file__).parents[1])})
    saved = tmp_path / ".run.baseline" / "checkpoint.pt"
    for _ in range(600):
        if saved.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert files(run) == before
    train_baseline(load(run), epochs=40, resume=True, quiet=True)
    assert files(run) == files(tmp_path / "whole")


KILLED = """
import sys, time, torch
from kddoctor.run import load
from kddoctor.treatment import labels_only
from kddoctor.treatment.baseline import train_baseline
torch.set_num_threads(1)
accuracy = labels_only.accuracy_of
def slowly(*arguments):
    time.sleep(0.2)
    return accuracy(*arguments)
labels_only.accuracy_of = slowly
train_baseline(load(sys.argv[1]), epochs=40, quiet=True)
"""


def test_a_link_in_the_place_of_a_partial_file_is_not_followed(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    (run / ".observations.json.partial").symlink_to(tmp_path / "mine.txt")
    train_baseline(load(run), epochs=1, quiet=True)
    assert (tmp_path / "mine.txt").read_text("utf-8") == "mine"


def test_missing_code_is_named_with_what_to_add(tmp_path, recorded):
    bare = shutil.copytree(recorded, tmp_path / "bare")
    manifest = bare / "kd_run.yaml"
    text = manifest.read_text("utf-8")
    manifest.write_text(text[: text.index("code:")], "utf-8")
    with pytest.raises(RunError, match=r"code is missing.*student, train_data and val_data as module:function"):
        train_baseline(load(bare), quiet=True)
    partly = sick_run(tmp_path / "partly", code={k: v for k, v in REFERENCES.items() if k != "student"}, epochs=1)
    with pytest.raises(RunError, match=r"code\.student is missing; expected module:function"):
        train_baseline(load(partly), quiet=True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("_blobs(200, 1)", "_blobs(100, 1)"), "data of 100 rows; expected the 200 rows"),
        (
            ("torch.arange(rows) % 4", "torch.arange(rows).flip(0) % 4"),
            "another label in row 1; expected the rows of",
        ),
    ],
)
def test_data_of_other_rows_are_refused(run, change, why):
    (run / "blobs.py").write_text(CODE.replace(*change), "utf-8")
    before = files(run)
    with pytest.raises(RunError, match=why):
        train_baseline(load(run), epochs=1, quiet=True)
    assert files(run) == before
