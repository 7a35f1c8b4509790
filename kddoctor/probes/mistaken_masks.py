"""Means of the divergence over positions that a wrong mask leaves: chosen by their token's number, or shifted."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_sums import row_blocks
from kddoctor.probes.mistaken_forms import StepRows, divergences

Array = NDArray[np.float64]

#: Vocabularies beyond this many tokens are not tried number by number.
MOST_TOKENS = 50_000


def values_by_mask(rows: StepRows, t: float) -> Iterator[tuple[str, Array]]:
    """Of tokens [B, L]; an array over the parameter's values.

    "from token" and "before token" n from 1 to C − 1: positions whose label is at least, or less than n. "all but
    token" n from 0: those whose label is any other. "mask late by" and "mask early by" k from 1 to L − 1: every row's
    mask shifted, with nothing coming in from outside. "rows with little padding" k from 0 to L − 1: rows of which
    at most k positions do not count, or all of them where there is none; "rows with much padding": the others. "padding
    alone": the positions that do not count.
    """
    each = np.concatenate(
        [divergences(rows.teacher[b] / t, rows.student[b] / t) for b in row_blocks(*rows.student.shape)]
    )
    if rows.classes <= MOST_TOKENS:
        labels = rows.labels[rows.counts]
        counted = np.bincount(labels, minlength=rows.classes)
        summed = np.bincount(labels, each[rows.counts], rows.classes)
        below, number = np.cumsum(summed)[:-1], np.cumsum(counted)[:-1]
        yield "before token", below / np.maximum(number, 1)
        yield "from token", (summed.sum() - below) / np.maximum(counted.sum() - number, 1)
        yield "all but token", (summed.sum() - summed) / np.maximum(counted.sum() - counted, 1)
    if not rows.counts.all():
        yield "padding alone", np.array([each[~rows.counts].mean()])
    cube, mask = each.reshape(rows.shape), rows.counts.reshape(rows.shape)
    length = rows.shape[1]
    yield from _by_row(cube, mask)
    late = [(cube[:, k:], mask[:, : length - k]) for k in range(1, length)]
    early = [(cube[:, : length - k], mask[:, k:]) for k in range(1, length)]
    for name, shifted in (("mask late by", late), ("mask early by", early)):
        if shifted:
            yield name, np.array([(values * kept).sum() / max(1, kept.sum()) for values, kept in shifted])


def _by_row(cube: Array, mask: NDArray[np.bool_]) -> Iterator[tuple[str, Array]]:
    padding = (~mask).sum(axis=1)
    little = padding[None, :] <= np.arange(mask.shape[1])[:, None]
    total, number = (cube * mask).sum(axis=1), mask.sum(axis=1)
    for name, rows in (("rows with little padding", little), ("rows with much padding", ~little)):
        chosen = rows | ~(rows @ number > 0)[:, None]
        yield name, (chosen @ total) / np.maximum(chosen @ number, 1)
