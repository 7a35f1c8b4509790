"""From any source to a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from kddoctor.errors import UsageError, one_line
from kddoctor.importers import huggingface, lightning, logits, mdistiller, mlflow, tensorboard, torchdistill, wandb
from kddoctor.importers.declaring import declared
from kddoctor.importers.found import Found, Given, Source
from kddoctor.importers.logits import Logits, logits_of
from kddoctor.importers.tasks import laid_out
from kddoctor.run.directory import SPLITS, Run, load
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.run.paths import reason
from kddoctor.run.writer import refuse_existing, write_run

#: The first that recognises a source reads it: tools that log through another one stand before it.
SOURCES = (
    Source("mdistiller", mdistiller.recognises, mdistiller.read),
    Source("torchdistill", torchdistill.recognises, torchdistill.read),
    Source("Hugging Face Trainer", huggingface.recognises, huggingface.read),
    Source("Weights & Biases", wandb.recognises, wandb.read),
    Source("MLflow", mlflow.recognises, mlflow.read),
    Source("Lightning CSVLogger", lightning.recognises, lightning.read),
    Source("TensorBoard", tensorboard.recognises, tensorboard.read),
    Source("a file of arrays", logits.is_table, logits.read_table),
    Source("logits", logits.holds_logits, logits.read_folder),
)

KNOWN = (
    "logits (.npz, .npy, .safetensors, .pt, .parquet, .csv), or a directory of Hugging Face's Trainer, Lightning, "
    "TensorBoard, MLflow, W&B, torchdistill or mdistiller"
)


@dataclass(frozen=True)
class Imported:
    """What became of a source. said: what was found. left: what was there and was not read, or is not certain."""

    kind: str
    said: tuple[str, ...]
    left: tuple[str, ...]


def recognised(path: Path) -> Source | None:
    """The source that lies at a path, None where it is no known one."""
    return next(_all_recognised(path), None)


def _all_recognised(path: Path) -> Iterator[Source]:
    try:
        yield from (source for source in SOURCES if source.recognises(path))
    except (OSError, ValueError):
        return


def import_run(
    source: str | Path | None, run_dir: str | Path, given: Given | None = None, *, overwrite: bool = False
) -> Imported:
    """Write a run directory from another tool's files. source: None where ``given.arrays`` hold everything.

    Raises UsageError where the source is not known, does not suffice or would be written over something; RunError where
    one of its files is broken or its arrays contradict one another. Nothing is left behind then.
    """
    given = given or Given()
    if given.split not in SPLITS:
        raise UsageError(f"{given.split} is not a split; known: {', '.join(SPLITS)}.")
    refuse_existing(Path(run_dir), overwrite)
    found = _read(None if source is None else Path(source), given)
    arrays = logits_of(None if source is None else Path(source), _own_folder(source, found.folder), given)
    if not arrays.splits and not found.metrics:
        raise UsageError(_nothing(source, found, arrays))
    said = tuple(map(one_line, (*found.said, *arrays.said)))
    left = [*found.left, *found.settings.unsure, *arrays.left]
    manifest = declared(found.settings, arrays.splits, given, left)
    imported = Imported(found.kind, said, tuple(map(one_line, left)))
    manifest["imported"] = {
        "from": one_line(str(source)) if source is not None else "files that were given one by one",
        "kind": imported.kind,
        "found": list(imported.said),
        "left": list(imported.left),
    }
    write_run(
        run_dir,
        manifest,
        predictions={split: laid_out(manifest["task"], part) for split, part in arrays.splits.items()},
        metrics=found.metrics,
        observations=found.observations or None,
        check=load,
        overwrite=overwrite,
    )
    return imported


@contextmanager
def run_from(path: Path, given: Given | None = None) -> Iterator[tuple[Run, Imported | None]]:
    """A run directory, or another tool's files, imported for as long as the context lasts.

    What is neither raises the RunError of a run directory that cannot be read.
    """
    if _is_run(path) or recognised(path) is None:
        yield load(path), None
        return
    with TemporaryDirectory(prefix="kddoctor-") as folder:
        run_dir = Path(folder) / (path.resolve().name or "run")
        imported = import_run(path, run_dir, given)
        yield load(run_dir), imported


def _is_run(path: Path) -> bool:
    try:
        return (path / MANIFEST_FILE).exists()
    except (OSError, ValueError):
        return False


def _read(path: Path | None, given: Given) -> Found:
    if path is None:
        if not given.arrays:
            raise UsageError("nothing to import: give a source, or --teacher-logits, --student-logits and --labels.")
        return Found("logits", None)
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {reason(error)}.") from None
    if not exists:
        raise UsageError(f"{path}: does not exist; expected {KNOWN}.")
    if _is_run(path):
        raise UsageError(f"{path}: is a run directory already; kddoctor diagnose {path} reads it as it is.")
    sources = list(_all_recognised(path))
    if sources:
        found = sources[0].read(path, given)
        # Logits are looked for in every source, and mdistiller's metrics are read from its event file.
        known = (logits.read_folder, *((tensorboard.read,) if sources[0].read is mdistiller.read else ()))
        trackers = [source.name for source in sources[1:] if source.read not in known]
        also = [f"{name} is there, too; give its own directory to import it" for name in trackers]
        return replace(found, left=(*found.left, *also))
    if given.arrays:
        return Found("logits", path if path.is_dir() else None)
    raise UsageError(f"{path}: nothing in it is known; expected {KNOWN}.")


def _own_folder(source: str | Path | None, folder: Path | None) -> Path | None:
    """The folder, unless a link of the source leads it out of there."""
    if source is None or folder is None:
        return folder
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    return folder if folder.resolve().is_relative_to(root.resolve()) else None


def _nothing(source: str | Path | None, found: Found, arrays: Logits) -> str:
    why = "; ".join(arrays.left) or "neither metrics nor logits"
    return (
        f"{source}: {found.kind} with {why}; give logits with --teacher-logits, --student-logits and --labels "
        "(or as a file with arrays of these names)."
    )
