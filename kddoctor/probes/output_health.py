"""Whether the models' outputs are numbers at all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OutputHealth:
    """Share of evaluated rows with a NaN or an infinity, by model."""

    rows: int
    student_nonfinite_rows: float
    teacher_nonfinite_rows: float
