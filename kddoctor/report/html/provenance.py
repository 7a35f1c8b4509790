"""What a report was made from: versions, settings, and a hash of the record."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path

from kddoctor import __version__
from kddoctor.errors import one_line
from kddoctor.run.directory import Run
from kddoctor.run.paths import file_inside

#: Files of the contract that a diagnosis reads, in the order in which they are hashed. Checkpoints are not read.
FOLDERS = ("predictions", "features", "inputs", "fingerprints", "snapshots")
FILES = ("kd_run.yaml", "steps.safetensors", "metrics.jsonl", "observations.json")
PACKAGES = ("numpy", "scipy", "torch", "safetensors", "matplotlib")
BLOCK = 1 << 20


def provenance(run: Run) -> tuple[tuple[str, str], ...]:
    """(what, value) lines."""
    training, meant = run.manifest.training, run.manifest.distillation
    declared = {
        "loss": meant.loss,
        "temperature": meant.temperature,
        "alpha": meant.alpha,
        "epochs": training.epochs,
        "batch size": training.batch_size,
        "learning rate": training.learning_rate,
        "seed": training.seed,
    }
    told = ", ".join(f"{name} {value}" for name, value in declared.items() if value is not None)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        ("kddoctor", __version__),
        ("run", one_line(str(run.path))),
        ("task", run.manifest.task),
        ("declared", one_line(told) or "nothing"),
        ("splits", ", ".join(run.splits)),
        ("record, SHA-256", record_digest(run)),
        ("Python and packages", f"{platform.python_version()}, {versions}"),
    )


def record_digest(run: Run) -> str:
    """SHA-256 over names and contents of every file that a diagnosis reads."""
    digest = hashlib.sha256()
    labels = [*FILES, *(f"{folder}/{split}.safetensors" for folder in FOLDERS for split in run.splits)]
    for label in labels:
        path = file_inside(run.path, label)
        if path is not None:
            digest.update(f"{label}\0{path.stat().st_size}\0".encode())
            _add(digest, path)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", path: Path) -> None:
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
