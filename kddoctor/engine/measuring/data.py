"""Measurements of the data."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import Measured, held_out_split
from kddoctor.engine.reading import binary_like, class_rows, classes, evenly, finite_baseline, finite_rows, first_rows
from kddoctor.probes.class_recall import ClassRecall, ClassRecallProbe
from kddoctor.probes.data_measurements import (
    LEAST_SURE,
    ClassRecalls,
    ClassShares,
    LabelDoubts,
    SplitDifference,
    SplitOverlap,
    SplitSureness,
)
from kddoctor.probes.label_doubt import LabelDoubt, LabelDoubtProbe
from kddoctor.probes.row_distances import projected
from kddoctor.probes.row_overlap import equal_rows, near_copies, near_rows
from kddoctor.probes.two_samples import TwoSamples, two_samples
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.steps import Steps

Counts = NDArray[np.int64]
#: Logits [n, C] of teacher and student, labels [n], logits of the labels-only student.
Rows = tuple[NDArray[np.floating], NDArray[np.floating], Counts, NDArray[np.floating] | None]
#: Rows of each split that are compared, and numbers of a row.
MAX_ROWS, MAX_COLUMNS = 2000, 256
#: Rows of each split in which the teacher's sureness is read, at least and at most.
FEWEST_SURE, SURE_ROWS = 20, 50_000
#: Rows of recorded steps that stand for a training split that was not recorded, at least.
FEWEST_SHOWN = 100
#: Classes that are looked at one by one.
MAX_CLASSES = 2000


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    held_out = held_out_split(run)
    doubt = _doubt(run, held_out)
    train = "train" if held_out != "train" and "train" in run.splits else None
    if doubt is not None:
        yield LabelDoubts(_doubt(run, train) if train else _doubt_in_loop(run), doubt)
    by_class = run.manifest.task == "multiclass" and classes(run.manifest) <= MAX_CLASSES
    if by_class:
        recall = _recall(run, held_out)
        if recall is not None:
            seen = None if run.steps is None else _in_loop(run.steps, classes(run.manifest))
            rows, right = (None, None) if seen is None else seen
            yield ClassRecalls(recall, _recall(run, train) if train else None, rows, right)
    if train is None:
        return
    overlap = _overlap(run, train, held_out)
    if overlap is not None:
        yield overlap
    if by_class:
        yield _shares(run, train, held_out, overlap)
    sureness = _sureness(run, train, held_out)
    if sureness is not None:
        yield sureness
    difference = _difference(run, train, held_out)
    if difference is not None:
        yield difference


def _rows(run: Run, split: str) -> Iterator[Rows]:
    """(teacher, student, labels, baseline) as class rows, where teacher and student were recorded whole."""
    part = run.predictions(split)
    if part is None or part.teacher_logits is None or part.student_logits is None:
        return
    arrays = (part.teacher_logits, part.student_logits, part.labels, finite_baseline(part))
    for teacher, student, labels, baseline in finite_rows(*arrays):
        t, y = class_rows(run.manifest, teacher, labels)
        s, _ = class_rows(run.manifest, student, labels)
        yield t, s, y, None if baseline is None else class_rows(run.manifest, baseline, labels)[0]


def _doubt(run: Run, split: str) -> LabelDoubt | None:
    probe = LabelDoubtProbe(classes(run.manifest))
    rows = 0
    for chunk in _rows(run, split):
        probe.update(*chunk)
        rows += len(chunk[2])
    return probe.compute() if rows else None


def _doubt_in_loop(run: Run) -> LabelDoubt | None:
    """Of the rows that late steps hold, when the student has learned most of what it will."""
    if run.steps is None:
        return None
    probe, steps, rows = LabelDoubtProbe(classes(run.manifest)), run.steps, 0
    for k in range(steps.count // 2, steps.count):
        teacher, student = steps.teacher_logits[k], steps.student_logits[k]
        if np.isfinite(teacher).all() and np.isfinite(student).all():
            t, y = class_rows(run.manifest, teacher, steps.labels[k])
            probe.update(t, class_rows(run.manifest, student, steps.labels[k])[0], y)
            rows += len(y)
    return probe.compute() if rows >= FEWEST_SHOWN else None


def _recall(run: Run, split: str) -> ClassRecall | None:
    probe = ClassRecallProbe(classes(run.manifest))
    rows = 0
    for chunk in _rows(run, split):
        probe.update(*chunk)
        rows += len(chunk[2])
    return probe.compute() if rows else None


def _in_loop(steps: Steps, count: int) -> tuple[Counts, Counts]:
    """[C] rows of each label in the sampled batches, and how many of them the teacher was right on."""
    rows, right = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for k in evenly(steps.count, 256):
        labels = np.asarray(steps.labels[int(k)]).reshape(-1).astype(np.int64)
        chosen = np.nan_to_num(steps.teacher_logits[int(k)]).reshape(len(labels), -1).argmax(1)
        labels, chosen = labels[labels != IGNORED], chosen[labels != IGNORED]
        rows += np.bincount(labels, minlength=count)
        right += np.bincount(labels[chosen == labels], minlength=count)
    return rows, right


def _shares(run: Run, train: str, held_out: str, overlap: SplitOverlap | None) -> ClassShares:
    count = classes(run.manifest)
    counted = [_counts(run.predictions(split).labels, count) for split in (train, held_out)]  # type: ignore[union-attr]
    in_loop = None if run.steps is None else _counts(run.steps.labels, count)
    hashes = run.fingerprints(train)
    part = run.predictions(train)
    complete = hashes is not None and part is not None and len(hashes) == part.n
    different = 1.0 if hashes is None else len(np.unique(hashes.read())) / len(hashes)
    if overlap is not None and overlap.copies is not None:
        different = min(different, overlap.copies.different)
    return ClassShares(counted[0], in_loop, counted[1], complete, different)


def _sureness(run: Run, train: str, held_out: str) -> SplitSureness | None:
    """None for tokens, whose rows are chosen by the text and not by the position."""
    if run.manifest.task == "tokens":
        return None
    found = [_margins(run, split) for split in (train, held_out)]
    if min(map(len, found)) < FEWEST_SURE:
        return None
    floor = float(np.quantile(found[0], LEAST_SURE))
    return SplitSureness(floor, float((found[1] < floor).mean()))


def _margins(run: Run, split: str) -> NDArray[np.floating]:
    """[n] logits by which the teacher's first choice is ahead of its second."""
    parts: list[NDArray[np.floating]] = []
    for teacher, *_ in _rows(run, split):
        two = np.partition(teacher, -2, axis=1)[:, -2:]
        parts.append(two[:, 1] - two[:, 0])
        if sum(map(len, parts)) >= SURE_ROWS:
            break
    return np.concatenate(parts) if parts else np.zeros(0)


def _counts(labels: LazyArray, count: int) -> Counts:
    total = np.zeros(count, np.int64)
    for chunk in labels.chunks():
        values = np.asarray(chunk).reshape(-1).astype(np.int64)
        total += np.bincount(values[(values >= 0) & (values < count)], minlength=count)
    return total


# Rows against rows ---------------------------------------------------------------------------------------


def _overlap(run: Run, train: str, held_out: str) -> SplitOverlap | None:
    hashes = run.fingerprints(train), run.fingerprints(held_out)
    equal = None
    if hashes[0] is not None and hashes[1] is not None:
        equal = equal_rows(hashes[0].read().astype(np.int64), hashes[1].read().astype(np.int64))
    inputs = _inputs(run, train, held_out)
    near, copies = (None, None) if inputs is None else (near_rows(*inputs), near_copies(*inputs))
    return None if equal is None and near is None else SplitOverlap(equal, near, copies)


def _inputs(run: Run, train: str, held_out: str) -> tuple[NDArray[np.generic], NDArray[np.generic]] | None:
    """The first rows of both splits, None where they were not recorded or are not alike."""
    inputs = run.inputs(train), run.inputs(held_out)
    if inputs[0] is None or inputs[1] is None:
        return None
    own, others = first_rows(inputs[0].inputs, MAX_ROWS), first_rows(inputs[1].inputs, MAX_ROWS)
    return (own, others) if own.shape[1:] == others.shape[1:] else None


def _difference(run: Run, train: str, held_out: str) -> SplitDifference | None:
    inputs = run.inputs(train), run.inputs(held_out)
    by_input = None
    if inputs[0] is not None and inputs[1] is not None:
        by_input = _compare("inputs", inputs[0].inputs, inputs[1].inputs, curved=True)
    features = run.features(train), run.features(held_out)
    by_features = None
    if features[0] is not None and features[1] is not None:
        for layer in [name for name in features[0].teacher if name in features[1].teacher][-1:]:
            source = f"the teacher's activations of {layer}"
            by_features = _compare(source, features[0].teacher[layer], features[1].teacher[layer])
    parts = run.predictions(train), run.predictions(held_out)
    logits = [None if part is None else part.teacher_logits for part in parts]
    by_logits = None
    if logits[0] is not None and logits[1] is not None and not binary_like(run.manifest):
        by_logits = _compare("the teacher's logits", logits[0], logits[1])
    found = SplitDifference(by_input, by_features, by_logits)
    return found if found.all else None


def _compare(source: str, train: LazyArray, held_out: LazyArray, *, curved: bool = False) -> TwoSamples | None:
    own, others = first_rows(train, MAX_ROWS), first_rows(held_out, MAX_ROWS)
    if own.shape[1:] != others.shape[1:]:
        return None
    return two_samples(source, projected(own)[:, :MAX_COLUMNS], projected(others)[:, :MAX_COLUMNS], curved=curved)
