"""Facts that no recorder can see in the loop, as a user or an importer may write them into observations.json.

``sequences``: eos_token_id, teacher_eos_token_id, max_length, truncated_share, tokenizer_agreement, teacher_nll,
teacher_nll_own_tokenizer, teacher_nll_of_student_samples, teacher_nll_of_teacher_samples, repetition_student,
repetition_teacher, long_traces and short_traces. ``training_windows``: teacher, student. ``seed_metrics``: student,
baseline. What is not of the expected kind counts as not recorded.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

Facts = Mapping[str, object]


@dataclass(frozen=True)
class Tokenizers:
    """agreement: share of token numbers that stand for the same text in both tokenizers. teacher_nll: nats a token
    under the numbers that it is given in the loop; own_teacher_nll: of the same text, encoded by its own tokenizer and
    template.
    """

    agreement: float | None
    teacher_nll: float | None
    own_teacher_nll: float | None


@dataclass(frozen=True)
class OwnSamples:
    """What the teacher thinks of texts that the student wrote, beside its own; nats a token.

    gap: mean of the difference over positions. slope: change of the difference from the first to the last position
    (least squares); error: its standard error. positions: how many. repetition: share of 4-grams of the student's texts
    that occurred before, over the teacher's.
    """

    gap: float
    slope: float
    error: float
    positions: int
    repetition: float | None


@dataclass(frozen=True)
class TraceLengths:
    """The same student after long and after short reasoning traces: metric on held-out rows, tokens that it writes.

    error: standard error of the difference of the metrics, None where the number of rows was not recorded.
    parameters: of the student.
    """

    long_metric: float
    short_metric: float
    long_length: float | None
    short_length: float | None
    error: float | None
    parameters: int | None


@dataclass(frozen=True)
class TrainingWindows:
    """When the training rows of both models come from, in a unit of the user's (dates in days since 1970)."""

    teacher: tuple[float, float]
    student: tuple[float, float]

    @property
    def unseen(self) -> float:
        """Share of the student's window that lies after the end of the teacher's."""
        start, end = self.student
        if end <= start:
            return float(start > self.teacher[1])
        return float(np.clip((end - self.teacher[1]) / (end - start), 0.0, 1.0))


@dataclass(frozen=True)
class SeedMetrics:
    """The metric of several runs that differ in their seed alone, with the teacher and without."""

    student: tuple[float, ...]
    baseline: tuple[float, ...]

    @property
    def gain(self) -> float:
        """Difference of the means."""
        return float(np.mean(self.student) - np.mean(self.baseline))

    @property
    def deviation(self) -> float:
        """Pooled standard deviation over seeds."""
        n, m = len(self.student), len(self.baseline)
        within = np.var(self.student) * n + np.var(self.baseline) * m
        return float(np.sqrt(within / max(1, n + m - 2)))


def section_of(observations: object, name: str) -> Facts:
    """A mapping among the keys that kddoctor itself never records; empty where there is none."""
    extra = getattr(observations, "model_extra", None) or {}
    found = extra.get(name)
    return found if isinstance(found, dict) else {}


def tokenizers_of(sequences: Facts) -> Tokenizers | None:
    """None where nothing was recorded."""
    found = Tokenizers(
        share_of(sequences.get("tokenizer_agreement")),
        number_of(sequences.get("teacher_nll")),
        number_of(sequences.get("teacher_nll_own_tokenizer")),
    )
    paired = found.teacher_nll is not None and found.own_teacher_nll is not None
    return found if found.agreement is not None or paired else None


def own_samples_of(sequences: Facts) -> OwnSamples | None:
    """None where the teacher's loss of both kinds of samples is not there, position by position."""
    student, teacher = (
        _numbers(sequences.get(f"teacher_nll_of_{who}_samples"), fewest=4) for who in ("student", "teacher")
    )
    if student is None or teacher is None:
        return None
    count = min(len(student), len(teacher))
    gap = student[:count] - teacher[:count]
    at = np.linspace(-0.5, 0.5, count)
    slope = float(at @ gap / (at @ at))
    rest = gap - gap.mean() - slope * at
    error = float(np.sqrt(rest @ rest / max(1, count - 2) / (at @ at)))
    repeated, usual = (share_of(sequences.get(f"repetition_{who}")) for who in ("student", "teacher"))
    ratio = None if repeated is None or not usual else repeated / usual
    return OwnSamples(float(gap.mean()), slope, error, count, ratio)


def trace_lengths_of(sequences: Facts, parameters: int | None) -> TraceLengths | None:
    """None where the metric of either training was not recorded."""
    long, short = (sequences.get(f"{kind}_traces") for kind in ("long", "short"))
    if not isinstance(long, dict) or not isinstance(short, dict):
        return None
    metrics = [share_of(each.get("metric")) for each in (long, short)]
    if metrics[0] is None or metrics[1] is None:
        return None
    rows = [number_of(each.get("rows")) for each in (long, short)]
    error = None
    if all(r is not None and r >= 1 for r in rows):
        error = math.sqrt(sum(m * (1 - m) / r for m, r in zip(metrics, rows, strict=True) if m is not None and r))
    lengths = [number_of(each.get("length")) for each in (long, short)]
    return TraceLengths(metrics[0], metrics[1], lengths[0], lengths[1], error, parameters)


def training_windows_of(windows: Facts) -> TrainingWindows | None:
    """None where either window is not there."""
    teacher, student = (_window(windows.get(who)) for who in ("teacher", "student"))
    return None if teacher is None or student is None else TrainingWindows(teacher, student)


def seed_metrics_of(metrics: Facts) -> SeedMetrics | None:
    """None unless there are at least two runs of each kind."""
    student, baseline = (_numbers(metrics.get(who), fewest=2) for who in ("student", "baseline"))
    if student is None or baseline is None:
        return None
    return SeedMetrics(tuple(student.tolist()), tuple(baseline.tolist()))


def share_of(value: object) -> float | None:
    """A number from 0 to 1."""
    number = number_of(value)
    return number if number is not None and 0 <= number <= 1 else None


def whole_of(value: object) -> int | None:
    """A whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number_of(value: object) -> float | None:
    """A finite number."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None  # type: ignore[arg-type]


def _numbers(value: object, fewest: int) -> NDArray[np.float64] | None:
    found = [number_of(each) for each in value] if isinstance(value, Iterable) and not isinstance(value, str) else []
    if len(found) < fewest or any(each is None for each in found):
        return None
    return np.array(found, np.float64)


def _window(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    ends = [_time(each) for each in value]
    if ends[0] is None or ends[1] is None or ends[1] < ends[0]:
        return None
    return ends[0], ends[1]


def _time(value: object) -> float | None:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment.toordinal() - datetime(1970, 1, 1).toordinal() + (moment.hour / 24)
    return number_of(value)
