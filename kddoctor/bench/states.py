"""Trained weights on disk, made once and shared by all processes: teachers and labels-only students."""

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path

from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

import kddoctor
from kddoctor.bench.task import Task

State = dict[str, Tensor]


class States:
    """Weights by key, below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def take(self, key: str, make: Callable[[], State]) -> State:
        """The state of this key, made where nobody has made it yet."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{key}.safetensors"
        if not path.exists():
            with FileLock(f"{path}.lock"):
                if not path.exists():
                    unfinished = path.with_suffix(f".{os.getpid()}.partial")
                    save_file({name: value.clone().contiguous() for name, value in make().items()}, unfinished)
                    unfinished.replace(path)
        return load_file(path)


def key_of(purpose: str, task: Task, recipe: object, seed: int) -> str:
    """A name that changes with everything that the weights depend on: task, recipe, seed and the code of them."""
    text = "\n".join([purpose, source_of(task.load), described(task.recipe), described(recipe), str(seed)])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def described(value: object) -> str:
    """A recipe as text, the same in every process: functions by their source, also those that others are given."""
    if is_dataclass(value) and not isinstance(value, type):
        return "\n".join(f"{field.name}: {described(getattr(value, field.name))}" for field in fields(value))
    if isinstance(value, partial):
        return f"{described(value.func)} of {described(value.args)} {described(value.keywords)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(described, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {described(held)}' for key, held in value.items())}}}"
    return source_of(value) if callable(value) else repr(value)


def source_of(function: Callable[..., object]) -> str:
    """The source of the file that a function stands in, with the values it closes over."""
    held = [described(cell.cell_contents) for cell in getattr(function, "__closure__", None) or ()]
    return f"{getattr(function, '__qualname__', '')} {held}\n{_digest(function.__module__)}"


@cache
def recorder_code() -> str:
    """A digest of what turns a loop into a record; of teachers and labels-only students nothing depends on it."""
    root = Path(kddoctor.__file__).parent / "run"
    digest = hashlib.blake2b(digest_size=12)
    for path in (root / "recorder.py", root / "writer.py", *sorted((root / "recording").rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _digest(module: str) -> str:
    source = inspect.getsource(sys.modules[module]) if module.startswith("kddoctor") else module
    return hashlib.blake2b(source.encode(), digest_size=12).hexdigest()
