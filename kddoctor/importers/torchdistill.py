"""What torchdistill leaves: the log of its examples, and the .yaml that it was started with.

Read after https://github.com/yoshitomo-matsubara/torchdistill: misc/log.py and examples/.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError
from kddoctor.importers.files import MOST_SETTINGS, below, first_lines, text_of
from kddoctor.importers.found import Found, Given, Settings
from kddoctor.importers.metric_names import from_percent, meanings, number, rows_of, summary
from kddoctor.importers.setting_names import in_words
from kddoctor.importers.torchdistill_settings import is_config, settings_from
from kddoctor.run.metrics import Row
from kddoctor.run.yaml_text import parse_foreign_yaml

_EPOCH = re.compile(r"Epoch: \[(\d{1,9})\]\s+\[\s*(\d{1,9})/(\d{1,9})\]\s+(?P<meters>eta: .*)")
_METER = re.compile(r"(\S+): (\S+)(?: \((\S+)\))?")
_ACCURACY = re.compile(r"\* Acc@1 (\d+\.\d+)")
_TITLE = re.compile(r"\[(Teacher|Student): ")
#: Meters of the machine and not of the training.
_CLOCKS = frozenset({"eta", "time", "data", "mem", "img/s", "sample/s"})


def recognises(path: Path) -> bool:
    """A log with the lines of torchdistill's meters, a .yaml with its models and training, or their directory."""
    log, config = _files(path)
    return bool(log or config)


def read(path: Path, given: Given) -> Found:
    """Metrics from the log, settings from the .yaml; one of them is enough."""
    folder = path.parent if path.is_file() else path
    log, config = _files(path)
    left, said = [], []
    rows: tuple[Row, ...] = ()
    if log:
        rows = from_percent(_rows(text_of(folder, log)))
        said.append(f"{log}: {summary(rows)}")
    else:
        left.append("a log of the training: start the example with --run_log to keep one")
    file = given.config or (folder / config if config else None)
    settings = Settings()
    if file is not None:
        values = parse_foreign_yaml(text_of(file.parent, file.name, MOST_SETTINGS), file.name)
        if not is_config(values):
            raise RunError(file.name, "models", "missing", "the settings of torchdistill: models, datasets and train")
        settings = _as_it_ran(settings_from(values, file.name), rows, file.name)
        said.append(f"{file.name}: {in_words(settings)}")
    else:
        left.append("its settings: give the .yaml with --config")
    if any("student_accuracy" in row for row in rows):  # the log has Acc@1
        settings = replace(settings, task="multiclass")
    return Found("torchdistill", folder, settings, rows, said=tuple(said), left=tuple(left))


def _files(path: Path) -> tuple[str | None, str | None]:
    """(log, settings) of a source."""
    if path.is_file():
        return (path.name, None) if _is_log(path) else (None, path.name if _is_settings(path) else None)
    if not path.is_dir():
        return None, None
    logs = [name for name in (*below(path, "*.log", 1), *below(path, "*.txt", 1)) if _is_log(path / name)]
    configs = [name for name in (*below(path, "*.yaml", 1), *below(path, "*.yml", 1)) if _is_settings(path / name)]
    return logs[-1] if logs else None, configs[-1] if configs else None


def _is_log(path: Path) -> bool:
    return path.suffix in (".log", ".txt") and bool(_EPOCH.search(first_lines(path, 1 << 20)))


def _is_settings(path: Path) -> bool:
    if path.suffix not in (".yaml", ".yml"):
        return False
    start = first_lines(path, MOST_SETTINGS)
    if not all(re.search(rf"^{key}:", start, re.MULTILINE) for key in ("models", "train")):
        return False
    try:
        return is_config(parse_foreign_yaml(start, path.name))
    except RunError:
        return False


def _rows(text: str) -> list[Row]:
    rows: list[Row] = []
    epoch = step = per_epoch = before = 0
    names: dict[str, Any] = {}
    who = "student"
    split = "val"
    for line in text.splitlines():
        message = line.rpartition("\t")[2] if "Acc@" not in line else line
        if match := _EPOCH.search(message):
            number_in_stage, index, per_epoch = (int(match[group]) for group in (1, 2, 3))
            if before + number_in_stage < epoch:  # the next stage counts from 0 again
                before = epoch + 1
            epoch = before + number_in_stage
            step = epoch * per_epoch + index
            values = _meters(match["meters"])
            names |= meanings(values.keys() - names.keys())
            rows += rows_of(values, names, step=step, epoch=epoch)
        elif match := _TITLE.search(message):
            who, split = match[1].lower(), "test"
        elif match := _ACCURACY.search(message):
            accuracy = float(match[1])
            place: Row = {"split": split, "step": (epoch + 1) * per_epoch, "epoch": epoch}
            rows.append(place | ({"student_accuracy": accuracy} if who == "student" else _teachers(accuracy)))
    return rows


def _teachers(percent: float) -> Row:
    return {"teacher_accuracy": percent / 100}


def _meters(text: str) -> dict[str, float]:
    """The median of the last steps for smoothed meters, the last value for others."""
    found = {name: number(value) for name, value, _ in _METER.findall(text) if name not in _CLOCKS}
    return {name: value for name, value in found.items() if value is not None}


def _as_it_ran(settings: Settings, rows: tuple[Row, ...], file: str) -> Settings:
    """Without a learning rate that the log contradicts: examples multiply it by the number of processes."""
    logged = next((rate for row in rows if (rate := number(row.get("lr"))) is not None), None)
    meant = settings.training.get("learning_rate")
    if logged is None or meant is None or abs(logged - meant) <= 1e-6 * abs(meant):
        return settings
    kept = {key: value for key, value in settings.training.items() if key != "learning_rate"}
    line = f"{file}: the learning rate is {meant:g}, and the log starts with {logged:g}; not taken"
    return replace(settings, training=kept, unsure=(*settings.unsure, line))
