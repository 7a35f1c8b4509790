"""Imports what the manifest's ``code`` section names, for treat, preflight and ``--live``: it runs the user's code."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from kddoctor.errors import RunError
from kddoctor.run.directory import Run
from kddoctor.run.manifest import MANIFEST_FILE, Code, Manifest, code_directory
from kddoctor.run.paths import file_inside

TEACHER_FILE = "checkpoints/teacher.safetensors"


@dataclass(frozen=True)
class LoadedCode:
    """The run's own models and data. loss: (student_logits, teacher_logits, labels) -> scalar, where given."""

    teacher: nn.Module
    make_student: Callable[[], nn.Module]
    train_data: Dataset[Any]
    val_data: Dataset[Any]
    loss: Callable[..., torch.Tensor] | None
    teacher_transform: Callable[[Any], Any] | None


@contextmanager
def loaded_code(run: Run) -> Iterator[LoadedCode]:
    """Models and data, imported, and the teacher with its checkpoint; the code's folder stays on sys.path inside.

    Raises RunError, one line, for what is missing or broken.
    """
    with code_of(run.path, run.manifest, lambda teacher: _load_teacher(run.checkpoint("teacher"), teacher)) as code:
        yield code


@contextmanager
def code_before_training(root: Path, manifest: Manifest) -> Iterator[LoadedCode]:
    """The same of a directory that need not hold a run yet: a teacher without a checkpoint there is as it was made."""
    checkpoint = file_inside(root, TEACHER_FILE)
    with code_of(root, manifest, lambda teacher: _load_teacher(checkpoint, teacher) if checkpoint else None) as code:
        yield code


@contextmanager
def code_of(root: Path, manifest: Manifest, fill: Callable[[nn.Module], None]) -> Iterator[LoadedCode]:
    """What the code section names, with its teacher given its weights by ``fill``. Raises RunError."""
    code = manifest.code
    if code is None:
        advice = "add it, with teacher, student, train_data and val_data as module:function"
        raise RunError(MANIFEST_FILE, "code", "missing", "where models and data come from", advice)
    folder = code_directory(root, code)
    modules: dict[str, ModuleType] = {}
    with _on_path(folder):
        found = {
            name: _resolve(folder, code, name, modules)
            for name in ("teacher", "student", "train_data", "val_data", "loss", "teacher_transform")
        }
        for name in ("teacher", "student", "train_data", "val_data"):
            if found[name] is None:
                raise RunError(MANIFEST_FILE, f"code.{name}", "missing", "module:function, such as recipe:make_student")
        teacher = _called(code, "teacher", found["teacher"], nn.Module)
        fill(teacher)
        yield LoadedCode(
            teacher=teacher,
            make_student=lambda: _called(code, "student", found["student"], nn.Module),
            train_data=_called(code, "train_data", found["train_data"], object),
            val_data=_called(code, "val_data", found["val_data"], object),
            loss=found["loss"],
            teacher_transform=found["teacher_transform"],
        )


@contextmanager
def loaded_loss(run: Run) -> Iterator[Callable[..., torch.Tensor] | None]:
    """The loss alone, imported as ``loaded_code`` does it; None where the manifest names none. Raises RunError."""
    code = run.manifest.code
    if code is None or code.loss is None:
        yield None
        return
    folder = code_directory(run.path, code)
    with _on_path(folder):
        yield _resolve(folder, code, "loss", {})


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The code's folder on sys.path, and its modules forgotten afterwards: two runs may both have a ``recipe``."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the run's own code may have taken it away
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder):
                del sys.modules[name]


def _resolve(folder: Path, code: Code, key: str, modules: dict[str, ModuleType]) -> Callable[..., Any] | None:
    reference = getattr(code, key)
    if reference is None:
        return None
    name, _, attribute = reference.partition(":")
    if name not in modules:
        modules[name] = _module(folder, key, reference, name)
    target = getattr(modules[name], attribute, None)
    if not callable(target):
        raise RunError(
            MANIFEST_FILE, f"code.{key}", f"'{reference}', but {name} has no function {attribute}", "a function"
        )
    return target  # type: ignore[no-any-return]


def _module(folder: Path, key: str, reference: str, name: str) -> ModuleType:
    sys.modules.pop(name, None) if (folder / f"{name}.py").is_file() else None
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RunError(
            MANIFEST_FILE, f"code.{key}", f"'{reference}', which fails to import ({error})", "a module"
        ) from None
    except (Exception, SystemExit) as error:  # the user's module may raise anything while it is imported
        why = f"{type(error).__name__}: {error}"
        raise RunError(MANIFEST_FILE, f"code.{key}", f"'{reference}', whose import raises {why}", "a module") from None


def _called(code: Code, key: str, make: Callable[..., Any] | None, kind: type) -> Any:
    assert make is not None
    reference = getattr(code, key)
    try:
        made = make()
    except (Exception, SystemExit) as error:  # the user's function may raise anything
        why = f"{type(error).__name__}: {error}"
        raise RunError(
            MANIFEST_FILE, f"code.{key}", f"'{reference}', which raises {why}", "a working function"
        ) from None
    if not isinstance(made, kind):
        found = f"'{reference}', which returns a {type(made).__name__}"
        raise RunError(MANIFEST_FILE, f"code.{key}", found, f"a {kind.__name__}")
    return made


def _load_teacher(path: Path | None, teacher: nn.Module) -> None:
    if path is None:
        advice = "record with save_checkpoints=True, or put the teacher's state dict there"
        raise RunError(TEACHER_FILE, "the file", "missing", "the teacher's weights", advice)
    try:
        missing, unexpected = teacher.load_state_dict(load_file(path), strict=False)
    except RuntimeError as error:
        raise RunError(TEACHER_FILE, "shapes", str(error), "the teacher's own") from None
    if missing or unexpected:
        found = f"{len(missing)} keys missing and {len(unexpected)} unexpected, {(missing + unexpected)[0]} among them"
        raise RunError(TEACHER_FILE, "keys", found, "those of code.teacher")
