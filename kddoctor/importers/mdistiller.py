"""What mdistiller leaves: worklog.txt and train.events, with the settings that it was started with.

Read after https://github.com/megvii-research/mdistiller: engine/trainer.py, engine/cfg.py and distillers/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kddoctor.errors import RunError, UsageError
from kddoctor.importers.files import MOST_SETTINGS, below, first_lines, text_of
from kddoctor.importers.found import Found, Given, Settings
from kddoctor.importers.metric_names import from_percent, meanings, number, rows_of, summary
from kddoctor.importers.setting_names import at_least_0, in_words, known, temperature, text, weights, whole_number_from
from kddoctor.importers.tensorboard import EVENTS, scalars
from kddoctor.run.metrics import Row
from kddoctor.run.yaml_text import parse_foreign_yaml

LOG, EVENT_FOLDER = "worklog.txt", "train.events"
#: What mdistiller takes where the settings leave it open.
DEFAULTS: Mapping[str, float] = {"KD.TEMPERATURE": 4, "KD.LOSS.CE_WEIGHT": 0.1, "KD.LOSS.KD_WEIGHT": 0.9, "DKD.T": 4}
CLASSES = {"cifar100": 100, "imagenet": 1000, "tiny_imagenet": 200}
_FIRST = re.compile(r"-{10,}\s+epoch: \d+\s+lr: ")
#: Settings that are looked at. Their names are searched for one by one, as the last tag may end in capitals, too.
_READ = (
    *("DATASET.TYPE", "DISTILLER.TYPE", "KD.TEMPERATURE", "KD.LOSS.CE_WEIGHT", "KD.LOSS.KD_WEIGHT", "DKD.T"),
    *(f"SOLVER.{name}" for name in ("TYPE", "EPOCHS", "BATCH_SIZE", "LR", "LR_DECAY_STAGES", "LR_DECAY_RATE")),
    *("SOLVER.MOMENTUM", "SOLVER.WEIGHT_DECAY"),
)
#: A value ends at a comma, but for those of a list.
_OVERRIDE = re.compile(rf"({'|'.join(map(re.escape, _READ))}):(\[[^\]]*\]|[^,]+)")


def recognises(path: Path) -> bool:
    """worklog.txt, or the directory of the experiment that holds it."""
    file = path if path.is_file() else path / LOG
    return file.name == LOG and bool(_FIRST.match(first_lines(file)))


def read(path: Path, given: Given) -> Found:
    """Metrics by epoch, and settings from the .yaml of the training where it lies beside the log or is given."""
    folder = path.parent if path.is_file() else path
    left: list[str] = []
    said: tuple[str, ...] = ()
    rows, source = _rows(folder, left)
    file, config = _config(folder, given.config)
    if config is None:
        left.append("its settings: mdistiller does not keep them with the log; give the .yaml with --config")
        settings = Settings(task="multiclass")
    else:
        unsure: list[str] = []
        values = _flat(config) | _overrides(folder.name)
        settings = _settings(values, file, unsure)
        rows = _with_rates(rows, values)
        said = (f"{file}: {in_words(settings)}",)
    if any(folder.glob("student_*")):
        left.append("best, latest, student_best, student_latest: pickles, which are not read")
    return Found(
        kind="mdistiller",
        folder=folder,
        settings=settings,
        metrics=from_percent(rows),
        said=(f"{source}: {summary(rows)}", *said),
        left=tuple(left),
    )


def _rows(folder: Path, left: list[str]) -> tuple[list[Row], str]:
    """From the event file, whose values are exact, or else from the log, which rounds to two decimals."""
    names = below(folder / EVENT_FOLDER, EVENTS, depth=0) if (folder / EVENT_FOLDER).is_dir() else ()
    if names:
        try:
            rows = [row for name in names for row in scalars(folder, f"{EVENT_FOLDER}/{name}", None)]
            return [{**row, "epoch": row.get("step")} for row in rows], EVENT_FOLDER
        except UsageError as error:
            left.append(f"{EVENT_FOLDER}: {error}")
    left.append(f"{LOG}: rounds its values to two decimals; the learning rate is not taken from it")
    return _logged(folder), LOG


def _logged(folder: Path) -> list[Row]:
    rows: list[Row] = []
    epoch, values = 0, dict[str, float]()
    names = meanings(["train_acc", "train_loss", "test_acc", "test_acc_top5", "test_loss"])

    def finish() -> None:
        rows.extend(rows_of(values, names, step=epoch, epoch=epoch))
        values.clear()

    for line in text_of(folder, LOG).splitlines():
        key, _, value = line.partition(": ")
        found = number(value)
        if key == "epoch" and found is not None and found == found // 1:
            finish()
            epoch = int(found)
        elif key in names and found is not None:
            values[key] = found
    finish()
    return rows


def _config(folder: Path, given: Path | None) -> tuple[str, Mapping[str, Any] | None]:
    """The settings that are given, or the one file beside the log that holds mdistiller's."""
    if given is not None:
        config = parse_foreign_yaml(text_of(given.parent, given.name, MOST_SETTINGS), given.name)
        if not _is_config(config):
            raise RunError(given.name, "DISTILLER", "missing", "the settings of mdistiller")
        return given.name, config
    for name in (*below(folder, "*.yaml", depth=0), *below(folder, "*.yml", depth=0)):
        config = parse_foreign_yaml(text_of(folder, name, MOST_SETTINGS), name)
        if _is_config(config):
            return name, config
    return "", None


def _is_config(config: object) -> bool:
    return isinstance(config, Mapping) and isinstance(config.get("DISTILLER"), Mapping)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and prefix.count(".") < 6:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _overrides(name: str) -> dict[str, Any]:
    """Settings of the command line, which mdistiller appends to the name of the experiment."""
    return {key: _value(said) for key, said in _OVERRIDE.findall(name)}


def _value(said: str) -> object:
    """A number stays text, which is read as one where one is wanted."""
    return [part.strip() for part in said[1:-1].split(",")] if said.startswith("[") else said


def _settings(values: Mapping[str, Any], file: str, unsure: list[str]) -> Settings:
    def default(key: str) -> object:
        if key not in values:
            unsure.append(f"{file}: {key} is not set; mdistiller's default is {DEFAULTS[key]:g}")
        return values.get(key, DEFAULTS[key])

    kind = str(values.get("DISTILLER.TYPE", "NONE"))
    distillation: dict[str, Any] = {"loss": "custom"}
    if kind == "NONE":
        distillation = {"loss": "none"}
    elif kind == "KD":
        labels, teachers = (number(default(f"KD.LOSS.{name}_WEIGHT")) for name in ("CE", "KD"))
        distillation = {"loss": "kl", "temperature": temperature(default("KD.TEMPERATURE"))}
        if labels is not None and teachers is not None:
            distillation |= weights(teachers, labels, file, unsure)
    elif kind == "DKD":
        distillation |= {"temperature": temperature(default("DKD.T"))}
    training = {
        "epochs": whole_number_from(0)(values.get("SOLVER.EPOCHS")),
        "batch_size": whole_number_from(1)(values.get("SOLVER.BATCH_SIZE")),
        "optimizer": text(values.get("SOLVER.TYPE")),
        "learning_rate": at_least_0(values.get("SOLVER.LR")),
        "momentum": at_least_0(values.get("SOLVER.MOMENTUM")),
        "weight_decay": at_least_0(values.get("SOLVER.WEIGHT_DECAY")),
    }
    return Settings(
        distillation=known(distillation),
        training=known(training),
        task="multiclass",
        num_classes=CLASSES.get(str(values.get("DATASET.TYPE", "cifar100"))),
        unsure=tuple(unsure),
    )


def _with_rates(rows: Sequence[Row], values: Mapping[str, Any]) -> list[Row]:
    """Training rows with the learning rate of their epoch: LR, times the decay for each stage that is behind."""
    rate, decay = (number(values.get(f"SOLVER.{name}")) for name in ("LR", "LR_DECAY_RATE"))
    stages = values.get("SOLVER.LR_DECAY_STAGES")
    if rate is None or decay is None or not isinstance(stages, list):
        return list(rows)
    ends = [end for stage in stages if (end := number(stage)) is not None]

    def at(epoch: float) -> float:
        return rate * decay ** sum(epoch > end for end in ends)

    return [
        {**row, "lr": at(epoch)} if row["split"] == "train" and (epoch := number(row.get("epoch"))) else dict(row)
        for row in rows
    ]
