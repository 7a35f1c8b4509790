"""``assert_retention``: does the student keep enough of its teacher, as far as these rows can tell?"""

import math
import warnings
from typing import Literal

from kddoctor.engine.retention import measure_retention, retention
from kddoctor.errors import UsageError
from kddoctor.probes.paired_retention import PairedRetention
from kddoctor.testing.given import RunOrPath, as_array, manifest_of, opened
from kddoctor.testing.hiding import ending_at_the_caller

Unsure = Literal["warn", "fail", "pass"]
#: Of the interval: 95 % of such intervals hold the true retention.
CONFIDENCE = 0.95


class UnsureWarning(UserWarning):
    """The rows are too few to tell whether what was asserted holds."""


@ending_at_the_caller
def assert_retention(
    run: RunOrPath | None = None,
    *,
    at_least: float = 0.95,
    teacher_logits: object = None,
    student_logits: object = None,
    labels: object = None,
    split: str | None = None,
    if_unsure: Unsure = "warn",
) -> None:
    """Fail where the student keeps less than ``at_least`` of its teacher's metric on the rows that both answered.

    One of: a run or its directory (split: the held-out one when left out); teacher_logits, student_logits and labels,
    arrays or tensors of the same rows. The metric is the accuracy, for yes-or-no tasks the area under the ROC curve.

    It fails where the whole 95 % interval, from paired rows, lies below ``at_least``. Where that lies inside the
    interval, the rows are too few to tell: if_unsure says what to do then.
    """
    if if_unsure not in ("warn", "fail", "pass"):
        raise UsageError(f"if_unsure is {if_unsure!r}; expected warn, fail or pass")
    if not 0 < at_least < math.inf:
        raise UsageError(f"at_least is {at_least!r}; expected a share above 0, such as 0.95")
    found = _measured(run, split, teacher_logits, student_logits, labels)
    interval = found.interval(CONFIDENCE)
    sentence = f"{_sentence(found, interval)}, wanted at least {at_least:g}"
    if interval is not None and interval[1] < at_least:
        advice = (
            "to see why: kddoctor diagnose RUN_DIR" if run is None else f"to see why: kddoctor diagnose {_path(run)}"
        )
        raise AssertionError(f"the student keeps too little of its teacher: {sentence}\n  {advice}")
    if interval is None or interval[0] < at_least:
        _unsure(
            f"too few rows to tell whether the student keeps enough: {sentence}{_needed(found, at_least)}", if_unsure
        )


def _unsure(message: str, if_unsure: Unsure) -> None:
    if if_unsure == "fail":
        raise AssertionError(message)
    if if_unsure == "warn":
        warnings.warn(message, UnsureWarning, stacklevel=4)  # the line of the assertion, past its wrapper


def _measured(
    run: RunOrPath | None, split: str | None, teacher_logits: object, student_logits: object, labels: object
) -> PairedRetention:
    if run is not None:
        return measure_retention(opened(run), split)
    if teacher_logits is None or student_logits is None or labels is None:
        raise UsageError("give assert_retention a run, or teacher_logits=, student_logits= and labels=")
    teacher, student, truth = (
        as_array(values, name)
        for values, name in ((teacher_logits, "teacher_logits"), (student_logits, "student_logits"), (labels, "labels"))
    )
    if teacher.shape != student.shape:
        raise UsageError(
            f"teacher_logits are {list(teacher.shape)}, student_logits {list(student.shape)}; expected alike"
        )
    task = manifest_of(teacher, truth).task
    found = retention(teacher, student, truth, yes_or_no=task in ("binary", "multilabel"))
    if found is None:
        raise UsageError("labels hold one answer only; the area under the curve needs both")
    return found


def _sentence(found: PairedRetention, interval: tuple[float, float] | None) -> str:
    between = "no interval, the teacher itself is too uncertain" if interval is None else _between(interval)
    return (
        f"measured retention {found.retention:.3f} ({between}) of {found.metric}, student {found.student:.3f}, teacher "
        f"{found.teacher:.3f}, on {found.rows:,} paired rows"
    )


def _between(interval: tuple[float, float]) -> str:
    return f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"


def _needed(found: PairedRetention, at_least: float) -> str:
    factor = found.clusters_to_tell(at_least, CONFIDENCE) / found.clusters
    if not math.isfinite(factor):
        return "; no number of rows would tell the two apart"
    return f"; about {math.ceil(factor * found.rows):,} rows would tell"


def _path(run: RunOrPath) -> object:
    return getattr(run, "path", run)
