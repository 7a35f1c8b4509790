"""Layer activations, raw inputs and content hashes of a split's examples."""

from __future__ import annotations

from dataclasses import dataclass

from kddoctor.errors import RunError
from kddoctor.run.arrays import ArrayFile, LazyArray
from kddoctor.run.layout import brackets


@dataclass(frozen=True)
class Features:
    """Activations of the first n rows of a split, [n, ...] for each layer, paired by example."""

    n: int
    teacher: dict[str, LazyArray]
    student: dict[str, LazyArray]


@dataclass(frozen=True)
class Inputs:
    """Raw inputs of the first n rows of a split. teacher_inputs is None where both models saw the same."""

    n: int
    inputs: LazyArray
    teacher_inputs: LazyArray | None


def read_features(file: ArrayFile) -> Features:
    """The activations of a features file. Raises RunError where rows differ or a name has no model."""
    models: dict[str, dict[str, LazyArray]] = {"teacher": {}, "student": {}}
    for key in file:
        model, _, layer = key.partition("/")
        if model not in models or not layer:
            raise RunError.plain(f"{file.label}: {key} is not named teacher/<layer> or student/<layer>.")
        if not file[key].is_float:
            raise RunError(file.label, key, f"of dtype {file[key].dtype}", "floating point activations")
        models[model][layer] = file[key]
    return Features(_rows(file, file.keys()), models["teacher"], models["student"])


def read_inputs(file: ArrayFile) -> Inputs:
    """The inputs of an inputs file. Raises RunError where the array is missing or rows differ."""
    names = tuple(name for name in ("inputs", "teacher_inputs") if name == "inputs" or name in file)
    return Inputs(_rows(file, names), file["inputs"], file.get("teacher_inputs"))


def read_fingerprints(file: ArrayFile) -> LazyArray:
    """One int64 content hash for each example, [N]. Raises RunError for any other shape or dtype."""
    hashes = file["fingerprint"]
    if hashes.is_float or hashes.dtype == "BOOL" or hashes.ndim != 1:
        found = f"{brackets(hashes.shape)} of dtype {hashes.dtype}"
        raise RunError(file.label, "fingerprint", found, "[N] integers")
    _rows(file, ("fingerprint",))
    return hashes


def _rows(file: ArrayFile, names: tuple[str, ...]) -> int:
    if not names:
        raise RunError.plain(f"{file.label}: holds no arrays.")
    first = file[names[0]]
    for array in map(file.__getitem__, names):
        if not array.shape or array.shape[0] == 0:
            raise RunError.plain(f"{file.label}: {array.name} is {brackets(array.shape)}; it holds no rows.")
        if array.shape[0] != first.shape[0]:
            raise RunError.plain(
                f"{file.label}: {array.name} is {brackets(array.shape)} but {first.name} is "
                f"{brackets(first.shape)}; their rows must agree."
            )
    return first.shape[0]
