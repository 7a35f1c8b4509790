"""Logits and labels, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kddoctor.errors import UsageError
from kddoctor.importers.array_files import READERS, read_arrays
from kddoctor.importers.files import below
from kddoctor.importers.found import Found, Given
from kddoctor.importers.metric_names import SPLITS
from kddoctor.importers.probabilities import log_of, looks_like_probabilities
from kddoctor.run.arrays import Array
from kddoctor.run.paths import file_inside

NEEDED = ("labels", "teacher_logits", "student_logits")
OUTPUTS = ("teacher_logits", "student_logits", "baseline_logits")
_PROBABILITIES = "_probabilities"
#: The array of predictions/<split>.safetensors by the names that people give it. Those that end in _probabilities hold
#: probabilities by their very name.
_NAMES = {
    name: array
    for array, names in {
        "labels": "labels label y y_true ground_truth label_ids",
        "teacher_logits": "teacher_logits logits_teacher teacher_logit teacher_log_probs teacher_scores",
        "student_logits": "student_logits logits_student student_logit student_log_probs student_scores",
        "baseline_logits": "baseline_logits logits_baseline baseline_logit baseline_scores",
        "teacher_targets": "teacher_targets",
        "example_ids": "example_ids example_id",
        "group_ids": "group_ids group_id",
        "item_ids": "item_ids item_id",
        "teacher_logits_probabilities": "teacher_probabilities teacher_probs teacher_prob probs_teacher",
        "student_logits_probabilities": "student_probabilities student_probs student_prob probs_student",
        "baseline_logits_probabilities": "baseline_probabilities baseline_probs baseline_prob",
    }.items()
    for name in names.split()
}
#: Files of a folder whose arrays are looked at; all others may be weights, optimizers or data.
_TABLES = frozenset({"predictions", "logits", "outputs"})

Splits = dict[str, dict[str, Array]]


@dataclass(frozen=True)
class Logits:
    """Arrays by split. said: where they come from. left: what was there and does not suffice."""

    splits: Splits
    said: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def is_table(path: Path) -> bool:
    """Whether a file holds arrays, by its name."""
    return path.suffix.lower() in READERS and path.is_file()


def read_table(path: Path, given: Given) -> Found:
    """A file of arrays as a source; its arrays are found by ``logits_of``."""
    return Found(kind=f"logits ({path.suffix})", folder=None)


def holds_logits(folder: Path) -> bool:
    """Whether a folder holds files that are named after logits, or after what models say."""
    return folder.is_dir() and any(
        role.array.endswith("_logits") or Path(name).stem.lower() in _TABLES
        for name, role in _files(folder)
        if role is not None
    )


def read_folder(folder: Path, given: Given) -> Found:
    """A folder of logits as a source; they are found by ``logits_of``."""
    return Found(kind="logits", folder=folder)


def logits_of(source: Path | None, folder: Path | None, given: Given) -> Logits:
    """The logits of a source: those that the user names, those of a file of arrays, and those that lie in the folder.

    Raises UsageError where the user names arrays that do not suffice, or a file without any.
    """
    said: list[str] = []
    left: list[str] = []
    splits = _gathered(source, folder, given, said)
    for split in [split for split, arrays in splits.items() if any(name not in arrays for name in NEEDED)]:
        arrays = splits.pop(split)
        missing = [name for name in NEEDED if name not in arrays]
        line = f"{split}: {', '.join(sorted(arrays))} without {' and '.join(missing)}"
        if split == given.split and given.arrays:
            flags = " ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise UsageError(f"{line}; give the rest with {flags}.")
        left.append(f"{line}; not taken")
    for split, arrays in splits.items():
        for name in OUTPUTS:
            if name in arrays:
                _look_at_probabilities(arrays, name, split, given, said)
    return Logits(splits, tuple(said), tuple(left))


def _gathered(source: Path | None, folder: Path | None, given: Given, said: list[str]) -> Splits:
    """Whatever is named after logits, by split; what the user names replaces what was found."""
    splits: Splits = {}
    if folder is not None:
        _from_folder(folder, given, splits, said)
    if source is not None and is_table(source):
        names = _sorted_in(read_arrays(source), given.split, splits)
        said.append(f"{source.name}: {', '.join(names) or 'no array that is known'}")
    for name, path in given.arrays.items():
        arrays = splits.setdefault(given.split, {})
        arrays.pop(f"{name}{_PROBABILITIES}", None)
        arrays[name] = _array_of(path, name)
        said.append(f"{path.name}: {name}")
    return splits


def _from_folder(folder: Path, given: Given, splits: Splits, said: list[str]) -> None:
    for name, role in _files(folder):
        if role is None:
            continue
        path = file_inside(folder, name)
        assert path is not None
        arrays = read_arrays(path)
        split = role.split or given.split
        if role.array and len(arrays) == 1:
            arrays = {role.array: next(iter(arrays.values()))}
        taken = _sorted_in(arrays, split, splits)
        if taken:
            said.append(f"{name}: {', '.join(taken)}")


@dataclass(frozen=True)
class _Role:
    """What an array, or a file, is by its name. array: empty where only the split is known."""

    split: str | None
    array: str


def _files(folder: Path) -> Iterator[tuple[str, _Role | None]]:
    """Files of arrays in a folder and those right below it, and what their names say; None where nothing."""
    for name in below(folder, "*.*", depth=1):
        path = Path(name)
        if path.suffix.lower() not in READERS or path.suffix.lower() == ".csv":  # logs are .csv, too
            continue
        outer = SPLITS.get(path.parent.name.lower())
        role = _role(path.stem)
        if role is None and path.stem.lower() in _TABLES:
            role = _Role(None, "")
        if role is None and path.stem.lower() in SPLITS:
            role = _Role(SPLITS[path.stem.lower()], "")
        yield name, role if role is None or role.split else replace(role, split=outer)


def _role(name: str) -> _Role | None:
    """What a name says, as val/teacher_logits, student_probs_test or labels; None where it says nothing."""
    parts = [part for part in re.split(r"[/_\-. ]+", name.strip().lower()) if part]
    split = None
    for place in (0, -1):
        if len(parts) > 1 and parts[place] in SPLITS and split is None:
            split = SPLITS[parts.pop(place)]
    array = _NAMES.get("_".join(parts))
    return _Role(split, array) if array else None


def _sorted_in(arrays: Mapping[str, Array], split: str, splits: Splits) -> list[str]:
    """Sort arrays into splits by their names; returns the names that were known."""
    taken = []
    for name, values in arrays.items():
        role = _role(name)
        if role is None:
            continue
        where = splits.setdefault(role.split or split, {})
        array = role.array.removesuffix(_PROBABILITIES)
        where[array] = values
        if role.array != array:
            where[role.array] = values
        taken.append(name)
    return taken


def _array_of(path: Path, name: str) -> Array:
    if not path.is_file():
        raise UsageError(f"{path}: does not exist; expected the file of {name}.")
    arrays = read_arrays(path)
    named = [held for held in arrays if (role := _role(held)) and role.array.startswith(name)]
    if len(arrays) != 1 and len(named) != 1:
        held = ", ".join(sorted(arrays)[:8]) or "no numbers"
        raise UsageError(f"{path}: holds {held}; expected one array, or one that is named {name}.")
    return arrays[named[0]] if named else next(iter(arrays.values()))


def _look_at_probabilities(arrays: dict[str, Array], name: str, split: str, given: Given, said: list[str]) -> None:
    """Probabilities by name, or by the user's word, become logits; others are kept, for the loss may have seen them."""
    by_name = arrays.pop(f"{name}{_PROBABILITIES}", None) is not None
    values = np.asarray(arrays[name])
    if by_name or given.probabilities:
        arrays[name] = log_of(values)
        said.append(f"{split}: {name} are the logarithms of probabilities, which have the same softmax")
    elif looks_like_probabilities(values):
        said.append(
            f"{split}: {name} look like probabilities, and are kept as they are: if the loss saw these, it took a "
            "softmax of them (KD205); if only the file holds probabilities, import with --probabilities"
        )
