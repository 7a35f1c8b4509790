"""Recorded training steps, and the sums to which loss forensics reduces each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_candidates import View
from kddoctor.probes.loss_sums import (
    BLOCK_ELEMENTS,
    LabelSums,
    PairSums,
    add_labels,
    label_sums,
    pair_sums,
    row_blocks,
    transformed,
)

Array = NDArray[np.float64]
Link = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class RecordedSteps:
    """A chunk of recorded steps.

    student_logits, teacher_logits: [K, B, C] (binary [K, B]; tokens [K, B, L, V]). labels: [K, B] (multilabel
    [K, B, C]; tokens [K, B, L], -100 ignored). mask: like labels, true = counts. Losses: [K].
    """

    student_logits: NDArray[np.floating]
    teacher_logits: NDArray[np.floating]
    labels: NDArray[np.int64]
    loss: Array
    kd_loss: Array | None = None
    ce_loss: Array | None = None
    feature_loss: Array | None = None
    mask: NDArray[np.bool_] | None = None


@dataclass
class StepSums:
    """One step: sums for every view, what each reduction divides by, and the recorded losses.

    rows: all of them; counted: those that are not masked and have a label.
    """

    pairs: dict[View, PairSums]
    labels: LabelSums
    rows: int
    counted: int
    denominators: dict[str, float]
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether the logits of the step are numbers."""
        return bool(np.isfinite(self.labels.log_z)) and all(
            np.isfinite(p.t_entropy).all() and np.isfinite(p.s_log_z).all() for p in self.pairs.values()
        )


def read_step(
    chunk: RecordedSteps, k: int, link: Link, temperatures: Sequence[float], few: Sequence[float]
) -> StepSums:
    """Reduce step ``k`` of a chunk. temperatures: searched for plain logits; few: for every rarer view."""
    z_s, z_t, labels, counts, denominators = _as_rows(
        np.asarray(chunk.student_logits[k], np.float64),
        np.asarray(chunk.teacher_logits[k], np.float64),
        chunk.labels[k],
        None if chunk.mask is None else chunk.mask[k],
        link,
    )
    views = _views(z_t, z_s, temperatures, few, every_position=not counts.all())
    pairs: dict[View, PairSums] = {}
    hard: LabelSums | None = None
    labelled = 0
    for block in row_blocks(*z_s.shape):
        s, t, y, c = z_s[block], z_t[block], labels[block], counts[block]
        has_label = c & (y >= 0)
        labelled += int(has_label.sum())
        part = label_sums(s[has_label], t[has_label], y[has_label])
        hard = part if hard is None else add_labels(hard, part)
        for view, grid in views.items():
            keep = c if view.masked else np.ones_like(c)
            if not keep.any():
                continue
            sums = pair_sums(
                transformed(s[keep], view.student),
                transformed(t[keep], view.teacher),
                grid,
                axis=1 if view.axis == "class" else 0,
            )
            pairs[view] = pairs[view] + sums if view in pairs else sums
    assert hard is not None
    step = StepSums(pairs, hard, len(z_s), labelled, denominators)
    for name in ("loss", "kd_loss", "ce_loss", "feature_loss"):
        column = getattr(chunk, name)
        if column is not None:
            step.losses[name] = float(column[k])
    return step


def _views(
    z_t: Array, z_s: Array, temperatures: Sequence[float], few: Sequence[float], *, every_position: bool
) -> Mapping[View, Sequence[float]]:
    views: dict[View, Sequence[float]] = {
        View(): temperatures,
        View(teacher="softmax"): few,
        View(student="softmax"): few,
        View(teacher="softmax", student="softmax"): few,
    }
    if z_t.min() >= 0 and z_t.max() <= 1:
        # Recorded probabilities: the loop may have taken their logarithm, which is right.
        views[View(teacher="log")] = few
    if z_s.shape[1] > 2:
        views[View(teacher="standardised", student="standardised")] = few
    if z_s.size <= BLOCK_ELEMENTS and not every_position:
        views[View(axis="batch")] = few
    if every_position:
        views[View(masked=False)] = few
    return views


def _as_rows(
    z_s: Array, z_t: Array, labels: NDArray[np.int64], mask: NDArray[np.bool_] | None, link: Link
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.bool_], dict[str, float]]:
    """One step as rows of class logits, with what each reduction divides a sum over rows by."""
    batch = len(z_s)
    if link == "sigmoid" or z_s.ndim == 1:
        # A sigmoid is a softmax over [0, z]; a squared error of [0, z] is that of z.
        flat_s, flat_t = z_s.reshape(-1), z_t.reshape(-1)
        zero = np.zeros_like(flat_s)
        elements = float(len(flat_s))
        # A loop that writes yes and no as two classes may average over both.
        denominators = {"batchmean": elements, "mean": 2 * elements, "sum": 1.0}
        if elements != batch:
            denominators = {"batchmean": float(batch), "per-label": elements, "sum": 1.0}
        y = np.asarray(labels, np.int64).reshape(-1)
        rows_s, rows_t = np.stack([zero, flat_s], 1), np.stack([zero, flat_t], 1)
        return rows_s, rows_t, y, np.ones(len(y), bool), denominators
    classes = z_s.shape[-1]
    y = np.asarray(labels, np.int64).reshape(-1)
    if mask is not None:
        counts = np.asarray(mask, bool).reshape(-1)
    else:  # a position without a label is none; a row without one is distilled like all others
        counts = y != -100 if z_s.ndim == 3 else np.ones(len(y), bool)
    valid = float(max(1, counts.sum()))
    denominators = {"batchmean": valid, "mean": valid * classes, "sum": 1.0}
    if z_s.ndim == 3:
        denominators |= {"per-sequence": float(batch), "all-positions": float(len(y))}
    else:
        denominators["class-mean"] = float(classes)
    return z_s.reshape(-1, classes), z_t.reshape(-1, classes), y, counts, denominators
