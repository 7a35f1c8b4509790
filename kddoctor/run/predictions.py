"""predictions/<split>.safetensors: what both models say about one split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kddoctor.errors import RunError
from kddoctor.run.arrays import ArrayFile, LazyArray
from kddoctor.run.labels import checked_labels
from kddoctor.run.layout import Layout
from kddoctor.run.manifest import TASKS_WITH_CLASSES, Manifest
from kddoctor.run.spelling import nearest

LOGITS = ("teacher_logits", "student_logits", "teacher_targets", "baseline_logits", "teacher_twin_logits")
IDS = ("example_ids", "group_ids", "item_ids")
TOPK = (
    "teacher_topk_values",
    "teacher_topk_indices",
    "student_topk_values",
    "student_topk_indices",
)


@dataclass(frozen=True)
class Predictions:
    """Both models on one split; rows pair by position. Shapes as in the contract, [N, C] for multiclass.

    file: name relative to the run directory. n: rows. labels: int64, multilabel as stored. Logits that a
    large vocabulary keeps from being stored whole are None, and topk_values and topk_indices
    [N, L, K] stand in their place. baseline_logits, teacher_twin_logits: of a model of the student's, of the teacher's
    make, trained on labels alone. extra: arrays that kddoctor does not know.
    """

    split: str
    file: str
    n: int
    labels: LazyArray
    teacher_logits: LazyArray | None
    student_logits: LazyArray | None
    teacher_targets: LazyArray | None
    baseline_logits: LazyArray | None
    teacher_twin_logits: LazyArray | None
    example_ids: LazyArray | None
    group_ids: LazyArray | None
    item_ids: LazyArray | None
    teacher_topk_values: LazyArray | None
    teacher_topk_indices: LazyArray | None
    student_topk_values: LazyArray | None
    student_topk_indices: LazyArray | None
    extra: dict[str, LazyArray]


def read_predictions(file: ArrayFile, split: str, manifest: Manifest) -> Predictions:
    """Check a predictions file against the manifest, from its header and its labels.

    Raises RunError where an array is missing, wrongly shaped or typed, empty, or holds impossible labels.
    """
    for needed in ("labels", "teacher_logits", "student_logits"):
        _require(file, needed, manifest)
    layout = Layout(manifest, file.label, rows=("N",))
    labels = layout.fit(file["labels"], layout.labels)
    logits = {name: layout.fit_logits(file[name]) for name in LOGITS if name in file}
    ids = {name: _ids(layout, file[name]) for name in IDS if name in file}
    topk = _topk(layout, file)
    layout.check_classes()
    known = {**dict.fromkeys((*LOGITS, *IDS, *TOPK)), **logits, **ids, **topk}
    return Predictions(
        split=split,
        file=file.label,
        n=layout.length("N"),
        labels=checked_labels(labels, manifest.task, manifest.num_classes),
        extra={name: file[name] for name in file if name not in known and name != "labels"},
        **known,
    )


def unknown_arrays(predictions: Predictions) -> list[str]:
    """A warning line for every array of the file that kddoctor does not know."""
    lines = []
    for name in predictions.extra:
        meant = nearest(name, ("labels", *LOGITS, *IDS, *TOPK))
        ending = f"did you mean {meant}?" if meant else "it is kept but not used."
        lines.append(f"{predictions.file}: {name} is not a known array; {ending}")
    return lines


def _require(file: ArrayFile, name: str, manifest: Manifest) -> None:
    stand_in = name.replace("logits", "topk_values")
    if name in file or (stand_in in file and manifest.task in TASKS_WITH_CLASSES and name != "labels"):
        return
    meant = next((held for held in file if nearest(held, (name,)) and not _is_known(held)), None)
    advice = f"is {meant} a misspelling?" if meant else None
    held = ", ".join(file.keys()) or "nothing"
    raise RunError(file.label, name, f"missing among {held}", "labels, teacher_logits and student_logits", advice)


def _is_known(name: str) -> bool:
    return name in ("labels", *LOGITS, *IDS, *TOPK)


def _ids(layout: Layout, array: LazyArray) -> LazyArray:
    if array.is_float or array.dtype == "BOOL":
        raise RunError(layout.file, array.name, f"of dtype {array.dtype}", "integers")
    return layout.fit(array, ("N",))


def _topk(layout: Layout, file: ArrayFile) -> dict[str, LazyArray]:
    arrays: dict[str, LazyArray] = {}
    for model in ("teacher", "student"):
        values, indices = f"{model}_topk_values", f"{model}_topk_indices"
        if (values in file) != (indices in file):
            missing, there = (indices, values) if values in file else (values, indices)
            raise RunError.plain(f"{layout.file}: {missing} is missing; {there} cannot be read without it.")
        if values not in file:
            continue
        axes = (*layout.positions, f"K of the {model}")
        arrays[values], arrays[indices] = layout.fit(file[values], axes), layout.fit(file[indices], axes)
        if not arrays[values].is_float or arrays[indices].is_float or arrays[indices].dtype == "BOOL":
            raise RunError(
                layout.file,
                f"{model}_topk",
                f"of dtypes {file[values].dtype} (values) and {file[indices].dtype} (indices)",
                "floating point values and integer indices",
            )
        _check_indices(arrays[indices], layout.manifest.num_classes)
    return arrays


def _check_indices(indices: LazyArray, num_classes: int | None) -> None:
    # An index past the vocabulary would only surface deep inside a probe, without a file to name.
    start = 0
    for chunk in indices.chunks(256):
        bad = np.argwhere((chunk < 0) | (chunk >= (num_classes or np.iinfo(np.int64).max)))
        if len(bad):
            at = ", ".join(map(str, (start + bad[0][0], *bad[0][1:])))
            expected = f"a class from 0 to {(num_classes or 0) - 1}"
            raise RunError(indices.file.label, f"{indices.name}[{at}]", str(chunk[tuple(bad[0])]), expected)
        start += len(chunk)
