"""A teacher's answers, from logits at hand or from the model itself, as the rules read them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.reading import CHUNK, binary_like, class_rows, classes
from kddoctor.errors import UsageError
from kddoctor.probes.measurements import TeacherView
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.run.manifest import Manifest
from kddoctor.testing.given import manifest_of

if TYPE_CHECKING:
    from torch import nn

#: Rows that a teacher is run on.
MOST_ROWS = 10_000


def view_of(logits: NDArray[Any], labels: NDArray[Any]) -> tuple[Manifest, TeacherView]:
    """The kind of task, and the logits held against the labels. Raises AssertionError where they are not finite."""
    logits = logits[:, 0] if logits.ndim == 2 and logits.shape[1] == 1 else logits
    manifest = manifest_of(logits, labels)
    broken = int((~np.isfinite(logits)).sum())
    if broken:
        raise AssertionError(f"the teacher is not valid: {broken} of its {logits.size} logits are NaN or infinite")
    probe = TeacherValidityProbe(classes(manifest))
    for start in range(0, len(labels), CHUNK):
        probe.update(*class_rows(manifest, logits[start : start + CHUNK], labels[start : start + CHUNK]))
    auc = _auc(logits, labels) if binary_like(manifest) else None
    return manifest, TeacherView("teacher_logits", False, probe.compute(), False, auc)


def _auc(logits: NDArray[Any], labels: NDArray[Any]) -> float | None:
    from sklearn.metrics import roc_auc_score

    truth = np.rint(labels.reshape(-1))
    return float(roc_auc_score(truth, logits.reshape(-1))) if 0 < truth.sum() < len(truth) else None


def answers(teacher: "nn.Module", data: object) -> tuple[NDArray[Any], NDArray[Any]]:
    """(logits, labels) of the first rows of data, in evaluation mode; model and random states stay as they were.

    Raises UsageError for data without labels.
    """
    from kddoctor.run.recording.undisturbed import undisturbed

    with undisturbed(teacher):
        batches = list(_answered(teacher, data))
    if not batches:
        raise UsageError("data: holds no batch of (inputs, labels)")
    logits, labels = zip(*batches, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def _answered(teacher: "nn.Module", data: object) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    from kddoctor.run.recording.batches import source_of
    from kddoctor.run.recording.calling import forward
    from kddoctor.run.recording.outputs import copied

    for batch in source_of(data, "data").batches(MOST_ROWS):
        if batch.labels is None:
            raise UsageError("data: a batch has no labels; expected (inputs, labels) or a dict with labels")
        yield copied(forward(teacher, batch.inputs)).numpy(), copied(batch.labels).numpy()
