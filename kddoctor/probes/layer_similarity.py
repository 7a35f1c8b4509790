"""Which teacher layer each student layer resembles: linear CKA (Kornblith et al. 2019), unbiased."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.exact_hsic import exact_terms
from kddoctor.probes.hsic import (
    MIN_ROWS,
    Features,
    HsicTerms,
    batch_terms,
    cka_of,
    jackknife_error,
    layer_map,
)
from kddoctor.probes.row_queue import RowQueue

BATCH_ROWS = 256


@dataclass(frozen=True)
class LayerSimilarity:
    """Unbiased linear CKA of every teacher layer with every student layer.

    cka: [Lt, Ls]; 1 for layers equal up to rotation, scale and shift, 0 on average for independent ones (so
    that it can be slightly negative), and 0 by definition where a layer is constant. standard_error: [Lt,
    Ls], jackknife over minibatches; None for fewer than two of them and for :func:`exact_cka`.
    teacher_layers, student_layers: names, in the order of the axes. teacher_dimensions,
    student_dimensions: features per row of each, trailing dimensions flattened. n: rows. batches:
    minibatches, 1 for :func:`exact_cka`.
    """

    cka: NDArray[np.float64]
    standard_error: NDArray[np.float64] | None
    teacher_layers: tuple[str, ...]
    student_layers: tuple[str, ...]
    teacher_dimensions: tuple[int, ...]
    student_dimensions: tuple[int, ...]
    n: int
    batches: int


class LayerSimilarityProbe:
    """Minibatch CKA (Nguyen et al. 2021, eq. 2-4): ratio of unbiased HSICs summed over batches by their rows.

    teacher_layers, student_layers: names to compare. batch_rows: rows of a minibatch. workers: threads, one
    layer each; worth it where BLAS has nothing to share between threads, that is for many narrow layers.

    Rows are cut into minibatches of ``batch_rows`` in the order of arrival, whatever the chunks, and a rest
    of fewer than four rows, for which the estimator is not defined, joins the batch before it. So nothing is
    dropped. Merging gives the single pass's batches, and so its result, where every worker but the last was
    given a multiple of ``batch_rows``; otherwise other rows meet in a batch, and the results differ within
    the standard error.
    """

    def __init__(
        self,
        teacher_layers: Sequence[str],
        student_layers: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        workers: int = 1,
    ) -> None:
        if not teacher_layers or not student_layers:
            raise ValueError("teacher_layers and student_layers must each name at least one layer")
        if batch_rows < MIN_ROWS:
            raise ValueError(f"batch_rows is {batch_rows}; unbiased HSIC needs at least {MIN_ROWS}")
        self.teacher_layers = tuple(teacher_layers)
        self.student_layers = tuple(student_layers)
        self.batch_rows = batch_rows
        self._workers = _checked_workers(workers)
        self._n = 0
        self._widths: list[int] | None = None
        self._queue = RowQueue()
        self._terms: list[HsicTerms] = []

    def update(self, teacher: Mapping[str, NDArray[np.floating]], student: Mapping[str, NDArray[np.floating]]) -> None:
        """Count a chunk: features [n, ...] by layer name, the same rows in all; other names are ignored.

        Raises ValueError for a missing layer, unequal numbers of rows, features whose width changed, and NaN
        or infinity.
        """
        layers = _flattened(teacher, self.teacher_layers, "teacher")
        layers += _flattened(student, self.student_layers, "student")
        self._expect(layers)
        self._queue.push(layers)
        self._n += len(layers[0])
        self._drain()

    def merge(self, other: "LayerSimilarityProbe") -> None:
        """Add another worker's rows, as if they came after the rows given here."""
        mine = (self.teacher_layers, self.student_layers, self.batch_rows)
        if mine != (other.teacher_layers, other.student_layers, other.batch_rows):
            raise ValueError("cannot merge probes made for different layers or minibatches")
        if other._widths is None:
            return
        if self._widths is not None and self._widths != other._widths:
            raise ValueError(f"cannot merge layers of widths {other._widths} into {self._widths}")
        self._widths = other._widths
        self._terms += other._terms
        if other._queue.rows:
            self._queue.push(other._queue.peek())
        self._n += other._n
        self._drain()

    def compute(self) -> LayerSimilarity:
        """The measurements so far; ValueError for fewer than four rows."""
        if self._n < MIN_ROWS or self._widths is None:
            raise ValueError(f"{self._n} rows were counted; unbiased HSIC needs at least {MIN_ROWS}")
        terms = list(self._terms)
        if self._queue.rows:
            with layer_map(self._workers) as run:
                terms.append(batch_terms(self._queue.peek(), len(self.teacher_layers), run))
        count = len(self.teacher_layers)
        return LayerSimilarity(
            cka=cka_of(terms),
            standard_error=jackknife_error(terms),
            teacher_layers=self.teacher_layers,
            student_layers=self.student_layers,
            teacher_dimensions=tuple(self._widths[:count]),
            student_dimensions=tuple(self._widths[count:]),
            n=self._n,
            batches=len(terms),
        )

    def _expect(self, layers: list[Features]) -> None:
        names = self.teacher_layers + self.student_layers
        widths = [layer.shape[1] for layer in layers]
        for name, layer, width, known in zip(names, layers, widths, self._widths or widths, strict=True):
            if len(layer) != len(layers[0]):
                raise ValueError(f"layer {name} has {len(layer)} rows but {names[0]} {len(layers[0])}")
            if width != known:
                raise ValueError(f"layer {name} has {width} features per row; earlier chunks had {known}")
        self._widths = widths

    def _drain(self) -> None:
        # A batch is closed only once enough rows wait behind it to stand alone.
        if self._queue.rows >= self.batch_rows + MIN_ROWS:
            with layer_map(self._workers) as run:
                while self._queue.rows >= self.batch_rows + MIN_ROWS:
                    rows = self._queue.pop(self.batch_rows)
                    self._terms.append(batch_terms(rows, len(self.teacher_layers), run))
        self._queue.keep()


def exact_cka(
    teacher: Mapping[str, NDArray[np.floating]],
    student: Mapping[str, NDArray[np.floating]],
    workers: int = 1,
) -> LayerSimilarity:
    """Unbiased CKA over all rows at once (Song et al. 2012, eq. 5); features [n, ...] by layer name.

    Memory beyond the features: about 1 MiB per layer, or 200 MiB where products of features are cheaper than
    Gram matrices. Raises ValueError as :class:`LayerSimilarityProbe` does.
    """
    probe = LayerSimilarityProbe(tuple(teacher), tuple(student))
    layers = _flattened(teacher, probe.teacher_layers, "teacher")
    layers += _flattened(student, probe.student_layers, "student")
    probe._expect(layers)
    if len(layers[0]) < MIN_ROWS:
        raise ValueError(f"{len(layers[0])} rows were given; unbiased HSIC needs at least {MIN_ROWS}")
    with layer_map(_checked_workers(workers)) as run:
        terms = exact_terms(layers, len(teacher), run)
    widths = tuple(layer.shape[1] for layer in layers)
    return LayerSimilarity(
        cka=cka_of([terms]),
        standard_error=None,
        teacher_layers=probe.teacher_layers,
        student_layers=probe.student_layers,
        teacher_dimensions=widths[: len(teacher)],
        student_dimensions=widths[len(teacher) :],
        n=terms.n,
        batches=1,
    )


def _checked_workers(workers: int) -> int:
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    return workers


def _flattened(features: Mapping[str, NDArray[np.floating]], names: tuple[str, ...], side: str) -> list[Features]:
    """[n, d] per layer, as float32 or float64."""
    missing = [name for name in names if name not in features]
    if missing:
        raise ValueError(f"{side} features lack {', '.join(missing)}; expected every layer in each chunk")
    flat = []
    for name in names:
        array = np.asarray(features[name])
        if array.ndim < 2 or not np.issubdtype(array.dtype, np.floating):
            found = f"{array.dtype} {list(array.shape)}"
            raise ValueError(f"{side} layer {name} is {found}; expected floating-point [n, ...]")
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        flat.append(array.reshape(len(array), math.prod(array.shape[1:])))
    return flat
