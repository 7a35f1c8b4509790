"""What the student answers on the way: from the first recorded step to the last, in training mode."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

Array = NDArray[np.float64]

#: Share of the way after which a step is late, and how many are taken for it at least.
LATE, FEWEST = 0.9, 2


@dataclass(frozen=True)
class StudentPath:
    """One number for each recorded step, [K], in the order of time.

    step: number of the step. excess: cross-entropy of the student with the labels, less ln C, in nats: 0 for a student
    that knows nothing and says so. dependence: share of the variance of the centred logits that lies between rows, 0
    for answers that do not depend on the input. scale: standard deviation of the student's logits. agreement: share of
    rows with the teacher's top class. kl: KL(teacher ‖ student) at the run's temperature, nats. teacher_loss:
    cross-entropy of the teacher with the labels. teacher_right: share of rows that the teacher has right. commonest:
    share of the commonest label. rows: counted. classes: C. gradient_ratio: median norm of the gradient
    that the optimizer got, over that of the loss as it stands; None where it was not recorded. taught: whether the
    distillation term had a gradient in the student's logits wherever the labels' had one; None where neither was
    recorded.
    """

    step: NDArray[np.int64]
    excess: Array
    dependence: Array
    scale: Array
    agreement: Array
    kl: Array
    teacher_loss: Array
    teacher_right: Array
    commonest: Array
    rows: NDArray[np.int64]
    classes: int
    gradient_ratio: float | None = None
    taught: bool | None = None

    @property
    def begins_late(self) -> bool:
        """Whether the first recorded answers come after more than one update: not those of the first weights."""
        return int(self.step[0]) > 1

    def late(self, name: str) -> float:
        """Mean of a column over the last tenth of the way."""
        return float(getattr(self, name)[self._late].mean())

    def late_error(self, name: str) -> float:
        """Standard error of that mean, by the scatter of its steps."""
        values = getattr(self, name)[self._late]
        return float(values.std(ddof=1) / math.sqrt(len(values)))

    @property
    def late_rows(self) -> int:
        """Rows of these steps."""
        return int(self.rows[self._late].sum())

    @property
    def _late(self) -> NDArray[np.bool_]:
        late: NDArray[np.bool_] = self.step >= self.step[0] + LATE * (self.step[-1] - self.step[0])
        late[-FEWEST:] = True
        return late


class StudentPathProbe:
    """Accumulates steps, in any order."""

    def __init__(self, classes: int, temperature: float) -> None:
        self.classes, self.temperature = classes, temperature
        self._table: list[tuple[float, ...]] = []

    def update(
        self, step: int, student: NDArray[np.floating], teacher: NDArray[np.floating], labels: NDArray[np.int64]
    ) -> None:
        """One step: logits [n, C] and labels [n]; a step without rows, or with values not finite, is passed over."""
        if not len(labels) or not (np.isfinite(student).all() and np.isfinite(teacher).all()):
            return
        s, t = student.astype(np.float64), teacher.astype(np.float64)
        rows = np.arange(len(labels))
        log_p, log_q = log_softmax(t / self.temperature, axis=1), log_softmax(s / self.temperature, axis=1)
        centred = s - s.mean(axis=1, keepdims=True)
        total = float((centred**2).mean(axis=0).sum())
        self._table.append(
            (
                step,
                float(-log_softmax(s, axis=1)[rows, labels].mean()) - math.log(self.classes),
                float(centred.var(axis=0).sum()) / total if total > 0 else 0.0,
                float(s.std()),
                float((s.argmax(1) == t.argmax(1)).mean()),
                float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()),
                float(-log_softmax(t, axis=1)[rows, labels].mean()),
                float((t.argmax(1) == labels).mean()),
                float(np.bincount(labels).max() / len(labels)),
                len(labels),
            )
        )

    def merge(self, other: "StudentPathProbe") -> None:
        """Add another worker's steps."""
        self._table.extend(other._table)

    def compute(self) -> StudentPath | None:
        """None without any step."""
        if not self._table:
            return None
        table = np.array(sorted(self._table), np.float64)
        return StudentPath(
            step=table[:, 0].astype(np.int64),
            excess=table[:, 1],
            dependence=table[:, 2],
            scale=table[:, 3],
            agreement=table[:, 4],
            kl=table[:, 5],
            teacher_loss=table[:, 6],
            teacher_right=table[:, 7],
            commonest=table[:, 8],
            rows=table[:, 9].astype(np.int64),
            classes=self.classes,
        )
