"""``assert_no_leakage``: are held-out rows among the training rows?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.diagnosis import Diagnosis, diagnose
from kddoctor.errors import UsageError
from kddoctor.probes.data_measurements import SplitOverlap
from kddoctor.probes.row_overlap import MAX_ROWS, equal_rows, near_rows
from kddoctor.run.directory import Run
from kddoctor.run.manifest import manifest_from
from kddoctor.testing.given import opened
from kddoctor.testing.hiding import ending_at_the_caller
from kddoctor.testing.verdicts import failing, judged, silent, told

CODES = ("KD601",)
#: Rows of each split that are hashed.
MOST_ROWS = 1_000_000
#: Hashes [n], and the inputs of the first rows [m, …] where they have one shape.
Rows = tuple[NDArray[np.int64], NDArray[Any] | None]


@ending_at_the_caller
def assert_no_leakage(train: object, val: object = None) -> None:
    """Fail where held-out rows, or near copies of them, are among the training rows.

    train, val: DataLoaders, Datasets, pairs (inputs, labels), or arrays or tensors of inputs; or a run (or its
    directory) as train and no val. Rows are compared by hashes of their content, and the first 2,000 of each also by
    distance, which finds copies that were augmented or stored in another type.
    """
    diagnosis = _of_run(train) if val is None else _of_rows(_rows(train, "train"), _rows(val, "val"))
    wrong = failing(diagnosis)
    if wrong:
        raise AssertionError(told("held-out rows are among the training rows", wrong, placed=val is None))
    unjudged = silent(diagnosis, CODES)
    if unjudged is not None:
        raise AssertionError(f"leakage cannot be judged: {unjudged}")


def _of_run(run: Any) -> Diagnosis:
    if not isinstance(run, Run | str) and not hasattr(run, "__fspath__"):
        raise UsageError("give assert_no_leakage train and val, or a run")
    return diagnose(opened(run), select=CODES)


def _of_rows(train: Rows, val: Rows) -> Diagnosis:
    near = None
    if train[1] is not None and val[1] is not None and train[1].shape[1:] == val[1].shape[1:]:
        near = near_rows(train[1], val[1])
    overlap = SplitOverlap(equal_rows(train[0], val[0]), near)
    manifest = manifest_from({"task": "multiclass", "num_classes": 2})  # the rule asks for no kind of task
    return judged(manifest, len(val[0]), overlap, CODES)


def _rows(data: object, name: str) -> Rows:
    from kddoctor.run.recording.batches import source_of
    from kddoctor.run.recording.fingerprinting import fingerprints
    from kddoctor.run.recording.outputs import copied, tensors_in
    from kddoctor.run.recording.undisturbed import undisturbed

    data = (data, np.zeros(len(data))) if hasattr(data, "shape") and hasattr(data, "__len__") else data
    hashes: list[NDArray[np.int64]] = []
    first: list[NDArray[Any]] = []
    with undisturbed():
        for batch in source_of(data, name).batches(MOST_ROWS):
            hashes.append(fingerprints(batch.inputs, batch.size))
            tensor = next(tensors_in(batch.inputs), None)
            if tensor is not None and len(tensor) == batch.size and sum(map(len, first)) < MAX_ROWS:
                first.append(copied(tensor).numpy())
    if not hashes:
        raise UsageError(f"{name}: holds no rows of tensors to compare")
    alike = len({part.shape[1:] for part in first}) == 1
    return np.concatenate(hashes), np.concatenate(first)[:MAX_ROWS] if alike else None
