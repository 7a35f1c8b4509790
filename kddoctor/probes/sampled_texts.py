"""What became of the texts that the student writes while it learns from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kddoctor.probes.learning_curve import Row, series

#: Logged values without which nothing is said of a beginning and an end, and the share of each that counts as one.
FEWEST_POINTS, PART = 10, 0.1


@dataclass(frozen=True)
class Course:
    """One scalar over training. first, last: median of the first and last tenth. trend: Spearman's rank correlation
    with the step.
    """

    first: float
    last: float
    trend: float

    @property
    def ratio(self) -> float:
        """last / first; nan where the first is no positive number."""
        return self.last / self.first if self.first > 0 else float("nan")


@dataclass(frozen=True)
class SampledTexts:
    """Courses of metrics.jsonl: completion_length in tokens, student_entropy in nats a token, teacher_topk_mass (share
    of the student's probability on the teacher's top tokens), loss, and the held-out metric; None where not logged.
    """

    length: Course | None
    entropy: Course | None
    topk_mass: Course | None
    loss: Course | None
    quality: Course | None


def sampled_texts(rows: Sequence[Row]) -> SampledTexts | None:
    """From rows of metrics.jsonl; None where nothing about samples was logged."""
    train = [row for row in rows if row.get("split", "train") == "train"]
    held_out = [row for row in rows if row.get("split") in ("val", "test")]
    names = ("completion_length", "student_entropy", "teacher_topk_mass")
    length, entropy, mass = (_course(train, name) for name in names)
    if length is None and entropy is None and mass is None:
        return None
    loss = _course(train, "kd_loss") or _course(train, "loss")
    return SampledTexts(length, entropy, mass, loss, _course(held_out, "student_accuracy", fewest=5))


def _course(rows: Sequence[Row], key: str, fewest: int = FEWEST_POINTS) -> Course | None:
    _, values = series(rows, key)
    values = values[np.isfinite(values)]
    if len(values) < fewest:
        return None
    few = max(1, round(PART * len(values)))
    still = values.min() == values.max()
    trend = 0.0 if still else float(stats.spearmanr(np.arange(len(values)), values).statistic)
    return Course(float(np.median(values[:few])), float(np.median(values[-few:])), trend)
