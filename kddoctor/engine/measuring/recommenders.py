"""Measurements of rankings."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import Measured, held_out_split
from kddoctor.engine.reading import evenly, finite_baseline
from kddoctor.probes.popularity import PopularityLean, popularity_lean
from kddoctor.probes.positives_kept import PositivesKept, positives_kept
from kddoctor.probes.score_link import ScoreLink, link_of, mixed_units, ordered_in_steps
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run

#: Tasks of one score for each example.
SCORED = ("ranking", "binary")
#: Rows of a split that are looked at, evenly spread; steps likewise.
MOST_ROWS, MOST_STEPS = 1_000_000, 256
#: Steps from which a loss is identified.
MIN_STEPS = 3


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    if run.manifest.task not in SCORED:
        return
    for found in (_link(run), _lean(run), _positives(run)):
        if found is not None:
            yield found


def _link(run: Run) -> ScoreLink | None:
    steps = run.steps
    if steps is None or steps.teacher_logits_check is None or not steps.count:
        return None
    chosen = [int(k) for k in evenly(steps.count, MOST_STEPS)]
    arrays = (steps.teacher_logits, steps.teacher_logits_check, steps.student_logits)
    used, own, student = (np.stack([a[k] for k in chosen]).astype(np.float64) for a in arrays)
    link = link_of(used.reshape(-1), own.reshape(-1))
    if link is not None:
        shape = (len(chosen), -1)
        link = replace(link, ordered=ordered_in_steps(used.reshape(shape), own.reshape(shape)))
    if link is None or steps.kd_loss is None or len(chosen) < MIN_STEPS:
        return link
    loss = steps.kd_loss[chosen]
    if not (np.isfinite(loss).all() and np.isfinite(used).all() and np.isfinite(student).all()):
        return link
    mixed = mixed_units(student.reshape(len(chosen), -1), used.reshape(len(chosen), -1), loss)
    return link if mixed is None else replace(link, mixed_units=mixed[0], mixed_error=mixed[1])


def _lean(run: Run) -> PopularityLean | None:
    held_out, train = run.predictions(held_out_split(run)), run.predictions("train")
    if held_out is None or train is None or held_out is train or held_out.teacher_logits is None:
        return None
    if held_out.item_ids is None or train.item_ids is None:
        return None
    rows = evenly(held_out.n, MOST_ROWS)
    teacher, student, twin = (
        None if a is None else _scores(a, rows)
        for a in (held_out.teacher_logits, held_out.student_logits, finite_baseline(held_out))
    )
    assert teacher is not None
    good = np.isfinite(teacher) & (True if student is None else np.isfinite(student))
    return popularity_lean(
        np.asarray(held_out.item_ids.read()).reshape(-1)[rows][good].astype(np.int64),
        np.asarray(train.item_ids.read()).reshape(-1)[evenly(train.n, MOST_ROWS)].astype(np.int64),
        teacher[good],
        None if student is None else student[good],
        None if twin is None else twin[good],
    )


def _positives(run: Run) -> PositivesKept | None:
    held_out, train = run.predictions(held_out_split(run)), run.predictions("train")
    if held_out is None or train is None or held_out.split == "train":
        return None
    if held_out.teacher_logits is None or train.teacher_logits is None:
        return None
    parts: list[NDArray[np.float64]] = []
    truth: list[NDArray[np.bool_]] = []
    for part in (train, held_out):
        assert part.teacher_logits is not None
        rows = evenly(part.n, MOST_ROWS)
        scores, labels = _scores(part.teacher_logits, rows), _scores(part.labels, rows)
        good = np.isfinite(scores)
        parts.append(scores[good])
        truth.append(labels[good] > 1 / 2)
    return positives_kept(parts[0], truth[0], parts[1], truth[1])


def _scores(array: LazyArray, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.asarray(array.read(), np.float64).reshape(len(array), -1)[rows, 0]
    return values
