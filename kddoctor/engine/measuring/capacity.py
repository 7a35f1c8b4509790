"""Measurements of layers and capacity."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import Measured, held_out_split
from kddoctor.engine.reading import binary_like
from kddoctor.probes.hsic import LARGEST, MIN_ROWS
from kddoctor.probes.layer_ranks import LayerRanks, layer_ranks
from kddoctor.probes.layer_similarity import LayerSimilarityProbe
from kddoctor.probes.measurements import LogitSimilarity
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED

#: Examples whose layers are looked at, and elements of one layer of them.
MOST_EXAMPLES, MOST_ELEMENTS = 1024, 4_000_000
#: Types whose rounding hides exact linear dependence.
COARSE = ("F16", "BF16")
LOGITS = "logits"


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """LayerRanks and LogitSimilarity, where layers were recorded beside the logits of the same rows."""
    split = held_out_split(run)
    features, part = run.features(split), run.predictions(split)
    if features is None or part is None or not features.student or binary_like(run.manifest):
        return
    if part.student_logits is None or part.teacher_logits is None:
        return
    arrays = (*features.teacher.values(), *features.student.values(), part.student_logits, part.teacher_logits)
    n = min(MOST_EXAMPLES, *(len(array) for array in arrays))
    if n < MIN_ROWS:
        return
    labels = np.asarray(part.labels[:n], np.int64)
    length = labels.shape[1] if labels.ndim == 2 else None
    models = [
        {name: _rows(array, n, length) for name, array in layers.items()}
        for layers in (features.teacher, features.student)
    ]
    logits = [_rows(array, n, length) for array in (part.teacher_logits, part.student_logits)]
    values = [*models[0].values(), *models[1].values(), *logits]
    if not all(np.abs(block).max(initial=0) < LARGEST for block in values):  # neither is NaN
        return
    known = int((labels != IGNORED).sum()) >= MIN_ROWS  # a mask may leave nothing of the first examples
    if known and not any(array.dtype in COARSE for array in arrays):
        maps = [name for name, array in features.student.items() if _is_map(array, length)]
        yield _ranks(models, logits, labels, maps)
    if all(len(block) == len(values[0]) for block in values):
        teacher, student = ({**model, LOGITS: own} for model, own in zip(models, logits, strict=True))
        probe = LayerSimilarityProbe(tuple(teacher), tuple(student))
        probe.update(teacher, student)
        yield LogitSimilarity(probe.compute())


def _ranks(
    models: list[dict[str, NDArray[np.floating]]],
    logits: list[NDArray[np.floating]],
    labels: NDArray[np.int64],
    maps: list[str],
) -> LayerRanks:
    flat = labels.reshape(-1)
    counted = flat != IGNORED

    def kept(block: NDArray[np.floating]) -> NDArray[np.floating]:
        return block[counted] if len(block) == len(flat) else block

    teacher, student = ({name: kept(block) for name, block in model.items()} for model in models)
    return layer_ranks(teacher, student, kept(logits[0]), kept(logits[1]), flat[counted], maps)


def _rows(array: LazyArray, n: int, length: int | None) -> NDArray[np.floating]:
    """[rows, units] of the first n examples: positions of a sequence are rows; of a map, its mean is one row."""
    n = max(MIN_ROWS, min(n, MOST_ELEMENTS // max(1, array.size // len(array))))
    block = array[:n]
    if _is_map(array, length):
        means: NDArray[np.floating] = block.reshape(*block.shape[:2], -1).mean(axis=2)
        return means
    return block.reshape(-1, block.shape[-1])


def _is_map(array: LazyArray, length: int | None) -> bool:
    """Whether every example has several places that are no positions of a sequence."""
    shape = tuple(array.shape)
    return len(shape) > 3 or (len(shape) == 3 and shape[1] != length)
