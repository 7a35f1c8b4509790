"""Imports what the manifest's ``code`` section names, which runs the user's code: for treat, baseline and preflight."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from kddoctor.errors import RunError
from kddoctor.run.directory import Run
from kddoctor.run.manifest import MANIFEST_FILE, Code, Manifest, code_directory
from kddoctor.run.paths import file_inside
from kddoctor.treatment.scoring import accuracy_of
from kddoctor.treatment.training import answer, batches, transformed

TEACHER_FILE, BEFORE_FILE = "checkpoints/teacher.safetensors", "checkpoints/teacher_before.safetensors"
#: Rows of a batch in which two teachers are compared.
BATCH = 256

#: References that a treatment can do without.
OPTIONAL = ("loss", "teacher_transform", "assistant", "wider_student")


@dataclass(frozen=True)
class LoadedCode:
    """The run's own models and data. loss: (student_logits, teacher_logits, labels) -> scalar, where given.

    make_assistant, make_wider_student: where the run's code has them, for experiments.
    """

    teacher: nn.Module
    make_student: Callable[[], nn.Module]
    train_data: Dataset[Any]
    val_data: Dataset[Any]
    loss: Callable[..., torch.Tensor] | None
    teacher_transform: Callable[[Any], Any] | None
    make_assistant: Callable[[], nn.Module] | None = None
    make_wider_student: Callable[[], nn.Module] | None = None


@dataclass(frozen=True)
class NamedCode:
    """What the manifest's references lead to, imported and not yet called. folder: where the code lies."""

    code: Code
    folder: Path
    functions: Mapping[str, Callable[..., Any]]

    def model(self, key: str) -> nn.Module:
        """A new model. Raises RunError where the function does not make one."""
        return self._called(key, nn.Module)  # type: ignore[no-any-return]

    def data(self, key: str) -> Dataset[Any]:
        """A data set. Raises RunError where the function does not make one."""
        return self._called(key, object)  # type: ignore[no-any-return]

    def transform(self, key: str) -> Callable[[Any], Any] | None:
        """From the student's inputs to those of this model, where they differ."""
        return self.functions.get("teacher_transform") if key == "teacher" else None

    def _called(self, key: str, kind: type) -> Any:
        reference = getattr(self.code, key)
        try:
            made = self.functions[key]()
        except (Exception, SystemExit) as error:  # the user's function may raise anything
            why = f"{type(error).__name__}: {error}"
            raise RunError(
                MANIFEST_FILE, f"code.{key}", f"'{reference}', which raises {why}", "a working function"
            ) from None
        if not isinstance(made, kind):
            found = f"'{reference}', which returns a {type(made).__name__}"
            raise RunError(MANIFEST_FILE, f"code.{key}", found, f"a {kind.__name__}")
        return made


@contextmanager
def named_code(
    root: Path, manifest: Manifest, needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[NamedCode]:
    """The functions of these references, imported; the code's folder stays on sys.path inside.

    Raises RunError, one line, where the section or a needed reference is missing, or an import fails.
    """
    code = manifest.code
    if code is None:
        advice = f"add it, with {', '.join(needed[:-1])} and {needed[-1]} as module:function"
        raise RunError(MANIFEST_FILE, "code", "missing", "where models and data come from", advice)
    for name in needed:
        if getattr(code, name) is None:
            raise RunError(MANIFEST_FILE, f"code.{name}", "missing", "module:function, such as recipe:make_student")
    folder = code_directory(root, code)
    modules: dict[str, ModuleType] = {}
    with _on_path(folder):
        found = {name: _resolve(folder, code, name, modules) for name in (*needed, *optional)}
        yield NamedCode(code, folder, {name: function for name, function in found.items() if function is not None})


@contextmanager
def loaded_code(run: Run) -> Iterator[LoadedCode]:
    """Models and data, imported, and the teacher with its checkpoint; the code's folder stays on sys.path inside.

    Of a teacher that changed while it taught there are two, of which the better one is taken: one that learned along by
    mistake was better before, one that was meant to learn is better now. Raises RunError, one line, for what is missing
    or broken.
    """
    with code_of(run.path, run.manifest, lambda teacher: _load_teacher(run.checkpoint("teacher"), teacher)) as code:
        before = run.checkpoint("teacher_before")
        if before is not None:
            now = _right(run.manifest, code)
            _load_teacher(before, code.teacher, BEFORE_FILE)
            if _right(run.manifest, code) < now:
                _load_teacher(run.checkpoint("teacher"), code.teacher)
        yield code


def _right(manifest: Manifest, code: LoadedCode) -> float:
    """How often the teacher is, on the held-out rows."""
    teacher = code.teacher.eval()
    return accuracy_of(
        lambda inputs: answer("teacher", teacher, transformed(code.teacher_transform, inputs)),
        lambda: batches(manifest, "val_data", lambda: DataLoader(code.val_data, BATCH)),
    )


@contextmanager
def code_before_training(root: Path, manifest: Manifest) -> Iterator[LoadedCode]:
    """The same of a directory that need not hold a run yet: a teacher without a checkpoint there is as it was made."""
    checkpoint = file_inside(root, TEACHER_FILE)
    with code_of(root, manifest, lambda teacher: _load_teacher(checkpoint, teacher) if checkpoint else None) as code:
        yield code


@contextmanager
def code_of(root: Path, manifest: Manifest, fill: Callable[[nn.Module], None]) -> Iterator[LoadedCode]:
    """What the code section names, with its teacher given its weights by ``fill``. Raises RunError."""
    needed = ("teacher", "student", "train_data", "val_data")
    with named_code(root, manifest, needed, OPTIONAL) as named:
        teacher = named.model("teacher")
        fill(teacher)
        yield LoadedCode(
            teacher=teacher,
            make_student=lambda: named.model("student"),
            train_data=named.data("train_data"),
            val_data=named.data("val_data"),
            loss=named.functions.get("loss"),
            teacher_transform=named.functions.get("teacher_transform"),
            make_assistant=_maker(named, "assistant"),
            make_wider_student=_maker(named, "wider_student"),
        )


def _maker(named: NamedCode, key: str) -> Callable[[], nn.Module] | None:
    return (lambda: named.model(key)) if key in named.functions else None


@contextmanager
def loaded_loss(run: Run) -> Iterator[Callable[..., torch.Tensor] | None]:
    """The loss alone, imported as ``loaded_code`` does it; None where the manifest names none. Raises RunError."""
    if run.manifest.code is None:
        yield None
        return
    with named_code(run.path, run.manifest, (), ("loss",)) as named:
        yield named.functions.get("loss")


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The code's folder on sys.path, and its modules forgotten afterwards: two runs may both have a ``recipe``.

    No bytecode is written meanwhile, which would lie in the run: nothing but its owner changes that.
    """
    before, no_bytecode = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = no_bytecode
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


def _load_teacher(path: Path | None, teacher: nn.Module, file: str = TEACHER_FILE) -> None:
    if path is None:
        advice = "record with save_checkpoints=True, or put the teacher's state dict there"
        raise RunError(file, "the file", "missing", "the teacher's weights", advice)
    try:
        missing, unexpected = teacher.load_state_dict(load_file(path), strict=False)
    except RuntimeError as error:
        raise RunError(file, "shapes", str(error), "the teacher's own") from None
    if missing or unexpected:
        found = f"{len(missing)} keys missing and {len(unexpected)} unexpected, {(missing + unexpected)[0]} among them"
        raise RunError(file, "keys", found, "those of code.teacher")
