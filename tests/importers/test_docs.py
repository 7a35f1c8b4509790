"""Every command of docs/import.md, as it stands there, on what the real tools wrote."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import kddoctor as package
from kddoctor.run import load
from tests.importers.sources import outputs

pytestmark = pytest.mark.integrations

PAGE = (Path(package.__file__).parents[1] / "docs/import.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line.strip()
]
#: Where the page has what the tools wrote, by the tool and the place that its script gave it.
PLACES = {
    "out": "huggingface/out",
    "lightning_logs": "lightning/csv/lightning_logs",
    "tensorboard": "lightning/tensorboard",
    "mlflow.db": "mlflow/database/mlflow.db",
    "mlruns": "mlflow/mlruns",
    "wandb": "wandb/wandb",
    "torchdistill": "torchdistill",
    "mdistiller": "mdistiller",
    "kd.yaml": "mdistiller/kd.yaml",
}


def place(written, word: str, here: Path) -> None:
    """Put the source that a word of a command names where the command expects it."""
    top = word.split("/", maxsplit=1)[0]
    if top not in PLACES or (here / top).exists():
        return
    tool, _, inner = PLACES[top].partition("/")
    source = written(tool) / inner
    shutil.copytree(source, here / top, symlinks=True) if source.is_dir() else shutil.copy(source, here / top)
    for experiment in (here / top).glob("students/*"):
        experiment.rename(experiment.with_name("kd"))


def test_the_page_has_commands_for_every_source():
    assert len(COMMANDS) >= 12
    assert {shlex.split(line)[1] for line in COMMANDS} == {"import", "diagnose"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works_as_written(kddoctor, written, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    arrays = outputs()
    (saving,) = re.findall(r"^np\.savez\(\"predictions.npz\".*$", PAGE, re.MULTILINE)
    exec(saving, {"np": np, **arrays})
    for short, name in (("t", "teacher_logits"), ("s", "student_logits"), ("y", "labels")):
        np.save(f"{short}.npy", arrays[name])
    _, *words = shlex.split(command)
    for word in words:
        place(written, word, tmp_path)
    answer = kddoctor(*words)
    if words[0] == "diagnose":
        assert answer.code in (0, 1, 3)
        return
    assert (answer.code, answer.err) == (0, "")
    run = load(next(word for word in words if word.startswith("runs/")))
    assert run.has("metrics") or run.has("predictions")
