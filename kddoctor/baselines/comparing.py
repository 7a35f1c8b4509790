"""Holding a run against a baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from kddoctor.baselines.baseline import Baseline
from kddoctor.baselines.like import refuse_unlike
from kddoctor.baselines.noise import before_any_run
from kddoctor.baselines.paired import Paired, paired_test
from kddoctor.baselines.record import Record, record_of
from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.errors import UsageError
from kddoctor.run.directory import Run

#: Rows of a class from which its recall is looked at.
FEWEST_ROWS = 20
#: Share of the level that is spent on the task's metric.
METRIC_WEIGHT = 0.5


@dataclass(frozen=True)
class Gate:
    """level: probability that a re-run with another seed fails, over all figures together. margins: changes for the
    worse that nobody minds, by figure. growth: shares by which single numbers may grow. power: that of the smallest
    detectable change.
    """

    level: float = 0.02
    margins: Mapping[str, float] = field(
        default_factory=lambda: {"calibration error": 0.01, "recall": 0.05, "ndcg": 0.01, "auc": 0.005}
    )
    margin: float = 0.005
    growth: Mapping[str, float] = field(
        default_factory=lambda: {"latency_ms": 0.25, "size_mb": 0.01, "parameters": 0.01}
    )
    power: float = 0.9

    def margin_of(self, figure: str) -> float:
        """The largest change for the worse of a figure that never fails."""
        return self.margins.get("recall" if figure.startswith("recall") else figure, self.margin)


@dataclass(frozen=True)
class Comparison:
    """One figure, before (mean over the baseline's runs) and after. drop: change for the worse, positive.

    p: probability of such a drop by another seed, adjusted for all figures (Holm); None where it was not tested.
    detectable: smallest drop that this comparison finds nine times in ten; None likewise. failed: a regression.
    """

    figure: str
    before: float
    after: float
    drop: float
    margin: float
    p: float | None
    detectable: float | None
    failed: bool


@dataclass(frozen=True)
class Regressions:
    """All comparisons, in the order of their figures. runs: of the baseline."""

    run: str
    runs: int
    rows: int
    reason: str
    comparisons: tuple[Comparison, ...]

    @property
    def failed(self) -> tuple[Comparison, ...]:
        """Those that regressed."""
        return tuple(c for c in self.comparisons if c.failed)


def compare(
    run: Run, diagnosis: Diagnosis, baseline: Baseline, gate: Gate | None = None, *, today: date | None = None
) -> Regressions:
    """Hold a run against a baseline. Raises UsageError for unlike runs, and for a baseline that has expired."""
    if baseline.expires is not None and (today or date.today()) > baseline.expires:
        raise UsageError(f"the baseline expired on {baseline.expires}; save a new one, with a reason")
    return compare_record(record_of(run, diagnosis), baseline, gate or Gate())


def compare_record(record: Record, baseline: Baseline, gate: Gate) -> Regressions:
    """The same for what was already read of a run."""
    refuse_unlike(baseline.identity, "the baseline", record)
    tests = list(_tests(record, baseline))
    weights = _weights([test[0] for test in tests], baseline.identity.metric)
    adjusted = holm([p for *_, p in tests], weights)
    tested = [
        Comparison(
            figure=figure,
            before=before,
            after=after,
            drop=paired.drop,
            margin=gate.margin_of(figure),
            p=p,
            detectable=max(gate.margin_of(figure), paired.detectable(gate.level * weight, gate.power)),
            failed=p <= gate.level and paired.drop >= gate.margin_of(figure),
        )
        for (figure, before, after, paired, _), p, weight in zip(tests, adjusted, weights, strict=True)
    ]
    return Regressions(
        run=record.name,
        runs=len(baseline.runs),
        rows=baseline.identity.rows,
        reason=baseline.reason,
        comparisons=(*tested, *_measures(record, baseline, gate)),
    )


def holm(p: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false one, by importance (Holm 1979, section 4)."""
    order = np.argsort(np.array(p) / np.array(weights), kind="stable")
    adjusted, largest, left = [0.0] * len(p), 0.0, float(sum(weights))
    for index in order:
        largest = max(largest, min(1.0, left * p[index] / weights[index]))
        adjusted[index] = largest
        left -= weights[index]
    return adjusted


def _weights(figures: Sequence[str], metric: str) -> list[float]:
    """Shares of the level: half of it for the task's metric, the others alike."""
    if metric not in figures or len(figures) == 1:
        return [1 / len(figures)] * len(figures)
    return [METRIC_WEIGHT if name == metric else (1 - METRIC_WEIGHT) / (len(figures) - 1) for name in figures]


Test = tuple[str, float, float, Paired, float]


def _tests(record: Record, baseline: Baseline) -> Iterator[Test]:
    """(figure, before, after, test, p before adjustment)."""
    for name, figure in record.figures.items():
        if name not in baseline.values:
            continue
        before = baseline.values[name]
        if before.shape[1] != len(figure.values) or (name == "retention" and _same_teacher(record, baseline)):
            continue
        paired = paired_test(before, figure.values, figure.worse, before_any_run(name))
        mean = float(baseline.figures[name].mean())
        yield name, mean, figure.value, replace(paired, drop=figure.worse * (figure.value - mean) + 0.0), paired.p
    recalls = list(_recalls(record, baseline))
    if recalls:
        worst = min(recalls, key=lambda test: test[-1])
        # The smallest of so many: they count as one figure, at the price of their number.
        yield (*worst[:-1], min(1.0, worst[-1] * len(recalls)))


def _same_teacher(record: Record, baseline: Baseline) -> bool:
    """Whether teachers are equally good, so that retention says what accuracy says and would only be paid for twice."""
    ours = record.figures["accuracy"].value * baseline.figures["retention"]
    return bool(np.allclose(ours, baseline.figures["accuracy"] * record.figures["retention"].value, rtol=1e-9))


def _recalls(record: Record, baseline: Baseline) -> Iterator[Test]:
    if record.classes is None or "accuracy" not in baseline.values or record.identity.task == "ranking":
        return
    before, after = baseline.values["accuracy"], record.figures["accuracy"].values
    for label in np.unique(record.classes):
        rows = record.classes == label
        if rows.sum() >= FEWEST_ROWS:
            name = f"recall of class {label}"
            paired = paired_test(before[:, rows], after[rows], -1, before_any_run(name))
            yield name, float(before[:, rows].mean()), float(after[rows].mean()), paired, paired.p


def _measures(record: Record, baseline: Baseline, gate: Gate) -> Iterator[Comparison]:
    for name, runs in baseline.measures.items():
        after = record.measures.get(name)
        if after is None:
            continue
        # Against the largest of the baseline's runs: what one of them needed cannot be a regression.
        margin = gate.growth.get(name, 0.0) * float(runs.max())
        drop = after - float(runs.max())
        yield Comparison(name, float(runs.mean()), after, drop, margin, None, None, drop > margin)
