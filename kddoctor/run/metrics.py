"""metrics.jsonl: scalars over time, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from kddoctor.errors import RunError, shown
from kddoctor.run.paths import reason

METRICS_FILE = "metrics.jsonl"
NUMBERS = frozenset(
    {
        "step",
        "epoch",
        "loss",
        "kd_loss",
        "ce_loss",
        "feature_loss",
        "lr",
        "grad_norm",
        "student_accuracy",
        "agreement",
    }
)
MAX_INTEGER = 1 << 63

Scalar = float | int | str | None
Row = dict[str, Scalar]


def read_metrics(path: Path) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The rows of metrics.jsonl, each with a ``split``, and warning lines.

    NaN and Infinity are legal, as JSON literals and as text. A last line that a crash cut short is dropped
    with a warning. Raises RunError, with the line number, for any other line that is not a JSON object of
    scalars.
    """
    rows: list[Row] = []
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    rows.append(_row(line, number))
                except RunError:
                    if line.endswith(b"\n"):
                        raise
                    warning = f"{METRICS_FILE}: line {number} was cut short (a crash?) and is left out."
                    return tuple(rows), (warning,)
    except OSError as error:
        raise RunError.plain(f"{METRICS_FILE}: cannot be read: {reason(error)}.") from None
    return tuple(rows), ()


def _row(line: bytes, number: int) -> Row:
    try:
        data = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise RunError.plain(f"{METRICS_FILE}: line {number} is not valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise RunError.plain(f"{METRICS_FILE}: line {number} is {shown(data)}; expected keys and values.")
    row: Row = {"split": "train"}
    for key, value in data.items():
        row[key] = _scalar(key, value, number)
    if not isinstance(row["split"], str):
        raise RunError(METRICS_FILE, f"line {number}: split", shown(row["split"]), "train, val or test")
    return row


def _scalar(key: str, value: object, number: int) -> Scalar:
    if key in NUMBERS and isinstance(value, str):
        try:
            value = float(value)  # loggers without NaN literals write "nan"
        except ValueError:
            raise RunError(METRICS_FILE, f"line {number}: {key}", shown(value), "a number or null") from None
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return float("inf") if value > 0 else float("-inf")
    if value is None or isinstance(value, float | int | str):
        return value
    raise RunError(METRICS_FILE, f"line {number}: {key}", shown(value), "a number, text or null")
