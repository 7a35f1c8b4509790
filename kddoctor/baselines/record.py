"""What a gate keeps of one run: figures example by example, single numbers, and what it was measured on."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from kddoctor.baselines.decisions import canonical_order
from kddoctor.baselines.figures import Figure, figures_of
from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.run.directory import Run

#: Single numbers of a run that had better not grow.
MEASURES = ("latency_ms", "size_mb", "parameters")


@dataclass(frozen=True)
class Identity:
    """What two runs must share for their figures to be comparable. labels, ids, contents: SHA-256 of these of the
    held-out rows; ids and contents are empty where they were not recorded.
    """

    task: str
    metric: str
    split: str
    rows: int
    labels: str
    ids: str
    contents: str


@dataclass(frozen=True)
class Record:
    """classes: [n] label of each example, None where an example has several or an answer is no class."""

    name: str
    identity: Identity
    figures: Mapping[str, Figure]
    measures: Mapping[str, float]
    classes: NDArray[np.int64] | None


def record_of(run: Run, diagnosis: Diagnosis) -> Record:
    """Raises UsageError for a run without whole logits of both models."""
    part = run.predictions(held_out_split(run))
    assert part is not None
    figures = figures_of(run)
    order = canonical_order(part)
    labels = np.asarray(part.labels.read())[order]
    contents = run.fingerprints(part.split)
    single = labels.ndim == 1
    return Record(
        name=run.name,
        identity=Identity(
            task=run.manifest.task,
            metric=diagnosis.gap.metric,
            split=part.split,
            rows=part.n,
            labels=_digest(labels),
            ids=_digest(np.sort(part.example_ids.read())) if part.example_ids is not None else "",
            contents=_digest(contents[: part.n][order]) if contents is not None else "",
        ),
        figures=figures,
        measures=_measures(run),
        classes=labels.astype(np.int64) if single else None,
    )


def _measures(run: Run) -> dict[str, float]:
    seen, checkpoint = run.observations, run.checkpoint("student")
    found = {
        "latency_ms": None if seen.latency_ms is None else seen.latency_ms.student,
        "size_mb": None if checkpoint is None else checkpoint.stat().st_size / 1e6,
        "parameters": None if seen.parameters is None else seen.parameters.student,
    }
    return {name: float(found[name]) for name in MEASURES if found[name] is not None}  # type: ignore[arg-type]


def _digest(values: NDArray[np.generic]) -> str:
    """The same for the same numbers, however they were stored."""
    kind = "<i8" if np.issubdtype(values.dtype, np.integer) or values.dtype == bool else "<f8"
    return sha256(repr(values.shape).encode() + np.ascontiguousarray(values, kind).tobytes()).hexdigest()
