"""What PyTorch Lightning's CSVLogger writes: metrics.csv and hparams.yaml."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from kddoctor.errors import RunError
from kddoctor.importers.files import MOST_SETTINGS, below, first_lines, text_of
from kddoctor.importers.found import Found, Given, Settings
from kddoctor.importers.metric_names import accuracy_as_share, counted, meanings, number, rows_of, summary
from kddoctor.importers.setting_names import in_words, settings_of
from kddoctor.run.metrics import Row
from kddoctor.run.yaml_text import parse_foreign_yaml

METRICS, HYPERPARAMETERS = "metrics.csv", "hparams.yaml"


def recognises(path: Path) -> bool:
    """metrics.csv with a step column, or a directory of one or more versions that hold one."""
    if path.is_file():
        return path.name == METRICS and _has_steps(path)
    return path.is_dir() and any(_has_steps(path / name) for name in below(path, METRICS, depth=3))


def read(path: Path, given: Given) -> Found:
    """Metrics and hyperparameters of the last version."""
    root = path.parent if path.is_file() else path
    name, left = (METRICS, ()) if path.is_file() else last_version(root, below(root, METRICS, depth=3))
    folder = (root / name).parent
    rows, note = accuracy_as_share(_rows(root, name))
    settings, said = hyperparameters(folder)
    return Found(
        kind="Lightning CSVLogger",
        folder=folder,
        settings=settings,
        metrics=rows,
        said=(f"{name}: {summary(rows)}", *([note] if note else []), *said),
        left=left,
    )


def last_version(root: Path, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Of files in folders version_0, version_1 and so on the last one's, and a line where there are others."""

    def version(name: str) -> tuple[int, str]:
        found = re.search(r"version_(\d{1,9})(?:/|$)", str(Path(name).parent))
        return (int(found[1]) if found else -1, name)

    chosen = max(names, key=version)
    if len(names) == 1:
        return chosen, ()
    others = counted(len(names) - 1, "other version")
    return chosen, (f"{others} in {root.name}; {Path(chosen).parent} is the last (give its directory for another)",)


def hyperparameters(folder: Path) -> tuple[Settings, tuple[str, ...]]:
    """What hparams.yaml of a folder certainly says, and a line about it; nothing where there is no such file."""
    if not (folder / HYPERPARAMETERS).exists():
        return Settings(), ()
    values = parse_foreign_yaml(text_of(folder, HYPERPARAMETERS, MOST_SETTINGS), HYPERPARAMETERS)
    settings = settings_of(values if isinstance(values, Mapping) else {}, HYPERPARAMETERS)
    return settings, (f"{HYPERPARAMETERS}: {in_words(settings)}",)


def _has_steps(path: Path) -> bool:
    header = first_lines(path).partition("\n")[0].strip().split(",")
    return "step" in header and len(header) > 1


def _rows(root: Path, name: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text_of(root, name)))
    rows: list[Row] = []
    names = meanings({key for key in reader.fieldnames or () if key and key not in ("step", "epoch")})
    try:
        for line in reader:
            values = {key: found for key in names if (found := number(line.get(key))) is not None}
            rows += rows_of(values, names, step=_whole(line.get("step")), epoch=_whole(line.get("epoch")))
    except csv.Error as error:
        raise RunError.plain(f"{name}: line {reader.line_num} is not CSV: {error}.") from None
    return rows


def _whole(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and found == found // 1 else None
