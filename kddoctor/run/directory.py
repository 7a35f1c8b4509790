"""The run directory as a whole: one distillation run, read lazily, checked eagerly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from kddoctor.errors import RunError, one_line
from kddoctor.run.arrays import ArrayFile, LazyArray
from kddoctor.run.features import Features, Inputs, read_features, read_fingerprints, read_inputs
from kddoctor.run.manifest import MANIFEST_FILE, Manifest, read_manifest
from kddoctor.run.metrics import METRICS_FILE, Row, read_metrics
from kddoctor.run.observations import OBSERVATIONS_FILE, Observations, read_observations
from kddoctor.run.paths import file_inside, reason
from kddoctor.run.predictions import Predictions, read_predictions, unknown_arrays
from kddoctor.run.snapshots import Snapshots, read_snapshots
from kddoctor.run.steps import Steps, lists_of_a_ranking, read_steps

SPLITS = ("train", "val", "test")
STEPS_FILE = "steps.safetensors"
#: Of which weights may be kept. teacher_before: as it was before it taught, where it did not stay so.
CHECKPOINTS = ("teacher", "student", "teacher_before")
PARTS = frozenset(
    {
        "predictions",
        "steps",
        "metrics",
        "observations",
        "features",
        "inputs",
        "fingerprints",
        "snapshots",
        "checkpoints",
        "code",
    }
)

Part = TypeVar("Part")


@dataclass(frozen=True)
class Run:
    """One distillation run. Arrays are read when they are asked for; everything else is already here.

    splits: those with predictions, in the order train, val, test; only an imported run may have none. metrics: rows in
    file order. warnings: one line each, about what was read but not understood.
    """

    path: Path
    name: str
    manifest: Manifest
    warnings: tuple[str, ...]
    splits: tuple[str, ...]
    steps: Steps | None
    metrics: tuple[Row, ...]
    observations: Observations
    _predictions: dict[str, Predictions]
    _features: dict[str, Features]
    _inputs: dict[str, Inputs]
    _fingerprints: dict[str, LazyArray]
    _snapshots: dict[str, Snapshots]
    _checkpoints: dict[str, Path]
    _has_observations: bool

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, task={self.manifest.task!r}, splits={self.splits})"

    def predictions(self, split: str) -> Predictions | None:
        return self._predictions.get(split)

    def features(self, split: str) -> Features | None:
        return self._features.get(split)

    def inputs(self, split: str) -> Inputs | None:
        return self._inputs.get(split)

    def fingerprints(self, split: str) -> LazyArray | None:
        return self._fingerprints.get(split)

    def snapshots(self, split: str) -> Snapshots | None:
        return self._snapshots.get(split)

    def checkpoint(self, model: Literal["teacher", "student", "teacher_before"]) -> Path | None:
        return self._checkpoints.get(model)

    def has(self, name: str) -> bool:
        """Whether a part of the run was recorded, for any split.

        name: predictions, steps, metrics, observations, features, inputs, fingerprints, snapshots, checkpoints or
        code. Raises ValueError for any other name.
        """
        if name not in PARTS:
            raise ValueError(f"{name} is not a part of a run directory; known: {', '.join(sorted(PARTS))}")
        return {
            "predictions": bool(self._predictions),
            "steps": self.steps is not None,
            "metrics": bool(self.metrics),
            "observations": self._has_observations,
            "features": bool(self._features),
            "inputs": bool(self._inputs),
            "fingerprints": bool(self._fingerprints),
            "snapshots": bool(self._snapshots),
            "checkpoints": bool(self._checkpoints),
            "code": self.manifest.code is not None,
        }[name]


def load(path: str | Path) -> Run:
    """Open a run directory and check it, from headers and labels, against its manifest.

    Raises RunError, in one line that names file and key, for anything that the contract does not allow,
    a missing directory included.
    """
    root = _existing_directory(Path(path))
    manifest_path = file_inside(root, MANIFEST_FILE)
    if manifest_path is None:
        raise RunError.plain(f"{root}: {MANIFEST_FILE} is missing; a run directory needs one.")
    manifest, warnings = read_manifest(manifest_path)
    predictions = _each(root, "predictions", SPLITS, lambda file, split: read_predictions(file, split, manifest))
    if not predictions and manifest.imported is None:
        raise RunError.plain(f"{root}: holds no predictions; expected predictions/val.safetensors (or train, or test).")
    steps_path = file_inside(root, STEPS_FILE)
    steps_file = ArrayFile(steps_path, STEPS_FILE) if steps_path else None
    lists = None if steps_file is None else lists_of_a_ranking(steps_file, manifest)
    metrics_path = file_inside(root, METRICS_FILE)
    observations_path = file_inside(root, OBSERVATIONS_FILE)
    rows, metric_warnings = read_metrics(metrics_path) if metrics_path else ((), ())
    features = _each(root, "features", SPLITS, lambda file, _: read_features(file))
    inputs = _each(root, "inputs", SPLITS, lambda file, _: read_inputs(file))
    fingerprints = _each(root, "fingerprints", SPLITS, lambda file, _: read_fingerprints(file))
    snapshots = _each(root, "snapshots", SPLITS, lambda file, _: read_snapshots(file))
    for kind, counts in (("features", features), ("inputs", inputs), ("snapshots", snapshots)):
        _check_first_rows(kind, {split: part.n for split, part in counts.items()}, predictions)
    _check_all_rows(fingerprints, predictions)
    array_warnings = (line for part in predictions.values() for line in unknown_arrays(part))
    return Run(
        path=root,
        name=root.resolve().name,
        manifest=manifest,
        # Names come from the files as they stand there; a control character would reach the terminal.
        warnings=tuple(
            map(
                one_line,
                (*warnings, *array_warnings, *([lists] if lists else []), *metric_warnings, *_stray_splits(root)),
            )
        ),
        splits=tuple(predictions),
        steps=None if steps_file is None or lists else read_steps(steps_file, manifest),
        metrics=rows,
        observations=read_observations(observations_path) if observations_path else Observations(),
        _predictions=predictions,
        _features=features,
        _inputs=inputs,
        _fingerprints=fingerprints,
        _snapshots=snapshots,
        _checkpoints=_each(root, "checkpoints", CHECKPOINTS, lambda file, _: _whole(file)),
        _has_observations=observations_path is not None,
    )


def _existing_directory(path: Path) -> Path:
    try:
        if not path.exists():
            raise RunError.plain(f"{path}: does not exist; expected a run directory.")
        if not path.is_dir():
            raise RunError.plain(f"{path}: is a file; expected the run directory that holds {MANIFEST_FILE}.")
        if not any(path.iterdir()):
            raise RunError.plain(f"{path}: is empty; a run directory holds {MANIFEST_FILE} and predictions.")
    except (OSError, ValueError) as error:
        raise RunError.plain(f"{path}: cannot be read: {reason(error)}.") from None
    return path


def _each(root: Path, folder: str, names: Iterable[str], read: Callable[[ArrayFile, str], Part]) -> dict[str, Part]:
    """What ``read`` makes of every file of a folder that is there, by the file's name."""
    parts = {}
    for name in names:
        label = f"{folder}/{name}.safetensors"
        path = file_inside(root, label)
        if path is not None:
            parts[name] = read(ArrayFile(path, label), name)
    return parts


def _whole(file: ArrayFile) -> Path:
    file.keys()  # reads the header, so that a broken checkpoint is named now and not when it is loaded
    return file.path


def _check_first_rows(kind: str, rows: dict[str, int], predictions: dict[str, Predictions]) -> None:
    for split, n in rows.items():
        part = predictions.get(split)
        if part is not None and n > part.n:
            raise RunError.plain(
                f"{kind}/{split}.safetensors: holds {n} rows but {part.file} holds {part.n}; "
                "expected the first rows of the same split."
            )


def _check_all_rows(fingerprints: dict[str, LazyArray], predictions: dict[str, Predictions]) -> None:
    # Predictions may hold the first rows of a split only; its fingerprints are those of all.
    for split, hashes in fingerprints.items():
        part = predictions.get(split)
        if part is not None and len(hashes) < part.n:
            raise RunError.plain(
                f"fingerprints/{split}.safetensors: fingerprint is [{len(hashes)}] but {part.file} holds {part.n} "
                "rows; expected one for every example of the split."
            )


def _stray_splits(root: Path) -> list[str]:
    folder = root / "predictions"
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
    known = {f"{split}.safetensors" for split in SPLITS}
    return [
        f"predictions/{name}: is not read; splits are {', '.join(SPLITS)}."
        for name in names
        if name not in known and name.endswith(".safetensors")
    ]
