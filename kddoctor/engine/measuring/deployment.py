"""Measurements of what became of the student after training."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.last_answers import answers_of
from kddoctor.engine.measuring.splits import Measured, held_out_split
from kddoctor.engine.reading import binary_like, evenly, finite_baseline, finite_rows
from kddoctor.engine.types import Outcome
from kddoctor.probes.answers_over_time import AnswersOverTime
from kddoctor.probes.deployment_measurements import EvaluatedStudent, TargetOutcome, ThresholdShifts
from kddoctor.probes.measurements import Gaps
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.probes.stored_student import StoredStudent
from kddoctor.probes.threshold_shift import ThresholdShift, threshold_shift
from kddoctor.probes.value_grid import LEVELS, ValueGrid, linear_weights, value_grid
from kddoctor.run.arrays import ArrayFile, LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.observations import LastStep, Observations
from kddoctor.run.steps import Steps

#: Values whose grid is looked at, and rows whose threshold is.
GRID_VALUES, THRESHOLD_ROWS = 200_000, 200_000
#: Rows from which the last layer is found.
HEAD_ROWS = 4096
#: Rows that are compared with the teacher's, and distances, over the size of the logits, of one model and of two: half
#: precision leaves a thousandth, and a student in training mode is further from itself than that.
COPY_ROWS, SAME_MODEL, ANOTHER_MODEL = 4096, 1e-4, 0.05
#: Distance from a whole number that rounding to float32 leaves of a share times its rows.
COUNTED = 2e-4
#: Rows by which rounding moves a share of them.
WHOLE = 0.02
LOGGED = "student_accuracy"
#: In the last part of a matrix's name, by the conventions of PyTorch and Keras.
MATRICES = ("weight", "kernel", "embedding")


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    wanted = run.manifest.targets
    outcome = measured.get(Outcome)
    declared = any(value is not None for value in (wanted.retention, wanted.latency_ms, wanted.size_mb))
    if isinstance(outcome, Outcome) and declared:
        yield _against_targets(run, outcome)
    stored = _stored(run)
    if stored is not None:
        yield stored
    gaps = measured.get(Gaps)
    if isinstance(gaps, Gaps):
        yield _evaluated(run, gaps, stored)
    if run.manifest.task in ("binary", "ranking", "multilabel"):
        shifts = _thresholds(run, held_out_split(run))
        if shifts is not None:
            yield shifts


def _against_targets(run: Run, outcome: Outcome) -> TargetOutcome:
    wanted, latency = run.manifest.targets, run.observations.latency_ms
    checkpoint = run.checkpoint("student")
    megabytes = None if checkpoint is None else checkpoint.stat().st_size / 1e6
    parameters = None if megabytes is not None else _counted(run)
    if parameters is not None:
        megabytes = parameters * _bytes_of_a_logit(run) / 1e6
    behind = (outcome.baseline or 0.0) - (outcome.student or 0.0)
    return TargetOutcome(
        metric=outcome.metric,
        wanted=wanted.retention,
        reached=outcome.retention,
        error=outcome.standard_error / max(outcome.teacher or 1.0, 1e-9),
        wanted_ms=wanted.latency_ms,
        reached_ms=None if latency is None else latency.student,
        wanted_mb=wanted.size_mb,
        reached_mb=megabytes,
        parameters=parameters,
        behind_twin=outcome.student is not None and behind > noise_of_difference(outcome.standard_error),
    )


def _counted(run: Run) -> int | None:
    """The student's number of parameters, None where nobody counted them or they were given fewer bits."""
    counts, values = run.observations.parameters, run.observations.student_distinct_values
    if counts is None or counts.student is None:
        return None
    if values is not None and (values.distinct or LEVELS + 1) <= LEVELS < (values.elements or 0):
        return None
    return int(counts.student)


def _bytes_of_a_logit(run: Run) -> int:
    part = run.predictions(held_out_split(run))
    dtype = "F32" if part is None or part.student_logits is None else part.student_logits.dtype
    return 2 if dtype in ("F16", "BF16") else 4


def _stored(run: Run) -> StoredStudent | None:
    checkpoint = run.checkpoint("student")
    if checkpoint is None:
        return None
    file = ArrayFile(checkpoint, "checkpoints/student.safetensors")
    # Small tensors, masks and untrained matrices may have few values; the largest one is the student.
    matrices = [array for name in file if (array := file[name]).ndim > 1 and array.size and array.dtype != "BOOL"]
    largest = max(matrices, key=lambda array: array.size, default=None)
    if largest is None:
        return StoredStudent(file.keys(), None, None)
    values = largest[: max(1, GRID_VALUES // max(1, largest.size // len(largest)))]
    return StoredStudent(file.keys(), len(np.unique(values)), int(values.size))


def _evaluated(run: Run, gaps: Gaps, stored: StoredStudent | None) -> EvaluatedStudent:
    seen = run.observations
    logged = [
        float(row[LOGGED])  # type: ignore[arg-type]
        for row in run.metrics
        if row.get("split") == gaps.split and isinstance(row.get(LOGGED), float | int)
    ]
    shares = [value for value in logged if 0 <= value <= 1]
    last, changed = seen.last_step, seen.parameters_changed_after_training
    # Steps beside predictions are for records in which nobody looked at the student itself after training.
    answers = answers_of(run) if last is None or changed is None else None
    # Of the live student, where it was looked at; else of its checkpoint.
    values = seen.student_distinct_values or stored
    accuracy = gaps.gaps.student_accuracy
    error = standard_error(accuracy, gaps.gaps.n)
    if shares:
        # Nobody says that the same rows were logged, so the two accuracies count as independent.
        error = float(np.hypot(error, standard_error(shares[-1], _rows_of(shares, gaps.gaps.n))))
    return EvaluatedStudent(
        written=None if changed is None else len(changed),
        logged=shares[-1] if shares and len(shares) == len(logged) else None,
        logged_best=max(shares) if shares and len(shares) == len(logged) else None,
        evaluated=accuracy,
        error=error,
        same_rows=bool(shares) and all(_whole(share * gaps.gaps.n) for share in shares),
        **(_by_steps(answers) if last is None else _by_last_step(last, run)),
        weights=None if values is None else values.distinct,
        weight_elements=None if values is None else values.elements,
        outputs=tuple(_outputs(run, gaps.split)),
        answers=answers,
        head=_head(run),
        is_teacher=_is_teacher(run, gaps.split),
        matrices_alone=_matrices_alone(seen),
    )


def _matrices_alone(seen: Observations) -> bool:
    """Whether matrices alone were written to after training: a file would have brought their biases as well."""
    changed, graph = seen.parameters_changed_after_training, seen.graph
    known = None if graph is None or graph.loss is None else graph.loss.student
    if not changed or known is None or known < 2 * len(changed):
        return False
    return all(any(word in name.rpartition(".")[2] for word in MATRICES) for name in changed)


def _rows_of(shares: Sequence[float], most: int) -> int:
    """The fewest rows whose shares these can be: the log may be of a part of the recorded ones. most: where of none."""
    rows = np.arange(1, most)
    for share in shares:
        counts = share * rows
        rows = rows[np.abs(counts - np.rint(counts)) <= COUNTED]
    return int(rows[0]) if len(rows) else most


def _is_teacher(run: Run, split: str) -> bool:
    """Whether the final student answers as its teacher to the last bit, where the one of the loop did not."""
    part = run.predictions(split)
    if part is None or part.student_logits is None or part.teacher_logits is None:
        return False
    rows = slice(0, COPY_ROWS)
    return _apart(part.student_logits[rows], part.teacher_logits[rows]) <= SAME_MODEL and _was_itself(run, split)


def _was_itself(run: Run, split: str) -> bool:
    """Whether the last recorded step, or the last agreement that was logged, is that of two models."""
    if run.steps is not None:
        last = run.steps.count - 1
        return _apart(run.steps.student_logits[last], run.steps.teacher_logits[last]) > ANOTHER_MODEL
    logged = [value for row in run.metrics if row.get("split") == split and (value := row.get("agreement")) is not None]
    return bool(logged) and isinstance(logged[-1], float) and logged[-1] < 1 - ANOTHER_MODEL


def _apart(student: NDArray[np.floating], teacher: NDArray[np.floating]) -> float:
    """Root mean square of the difference over that of the teacher's logits; nan without finite ones."""
    a, b = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    size = float(np.sqrt((b**2).mean()))
    return float(np.sqrt(((a - b) ** 2).mean())) / size if size > 0 else float("nan")


def _by_last_step(last: LastStep, run: Run) -> dict[str, Any]:
    return {
        "then": last.accuracy_then,
        "after": last.accuracy_after,
        "agreement": last.agreement,
        "moved": last.relative_difference,
        "batch": None if run.steps is None else _rows_of_a_batch(run.steps),
    }


def _by_steps(answers: AnswersOverTime | None) -> dict[str, Any]:
    """What the record's own steps say of the same, where the student was not run again on its last batch."""
    if answers is None:
        return {"then": None, "after": None, "agreement": None, "moved": None, "batch": None}
    # Of wrong labels, or unused ones, a student that is another one now may know as many; of its teacher's answers not.
    by_teacher = answers.agreement_then - answers.agreement_after > answers.then - answers.after
    return {
        "then": answers.agreement_then if by_teacher else answers.then,
        "after": answers.agreement_after if by_teacher else answers.after,
        "agreement": None,
        "moved": float(answers.distance[-1]),
        "batch": answers.rows,
        "opinion": "of its teacher's opinion" if by_teacher else "right",
    }


def _whole(rows: float) -> bool:
    return abs(rows - round(rows)) <= WHOLE


def _rows_of_a_batch(steps: Steps) -> int:
    labels = np.asarray(steps.labels[steps.count - 1])
    return int((labels != IGNORED).sum())


def _outputs(run: Run, split: str) -> list[tuple[str, ValueGrid]]:
    """Grids of the student's logits and recorded layers, the fewest values first."""
    part, features = run.predictions(split), run.features(split)
    arrays: dict[str, LazyArray] = {}
    if part is not None and part.student_logits is not None:
        arrays["logits"] = part.student_logits
    if features is not None:
        arrays |= features.student
    found = [(name, grid) for name, array in arrays.items() if (grid := _grid(array)) is not None]
    return sorted(found, key=lambda item: (item[1].step is None, item[1].distinct))


def _grid(array: LazyArray) -> ValueGrid | None:
    width = max(1, array.size // max(1, len(array)))
    values = array[: max(1, GRID_VALUES // width)]
    values = values[np.isfinite(values)]
    return value_grid(values) if values.size else None


def _head(run: Run) -> ValueGrid | None:
    """Values of the last layer's weights, found from its inputs and outputs; None where no recorded layer is it."""
    split = held_out_split(run)
    part, features = run.predictions(split), run.features(split)
    if part is None or part.student_logits is None or features is None or part.student_logits.ndim != 2:
        return None
    for array in features.student.values():
        if array.ndim == 2:
            rows = min(len(array), HEAD_ROWS)
            weights = linear_weights(np.asarray(array[:rows]), np.asarray(part.student_logits[:rows]))
            if weights is not None:
                return value_grid(weights)
    return None


def _thresholds(run: Run, split: str) -> ThresholdShifts | None:
    from sklearn.metrics import roc_auc_score

    part = run.predictions(split)
    if part is None or part.teacher_logits is None or part.student_logits is None:
        return None
    columns: list[list[Any]] = [[], [], [], []]
    rows = 0
    for chunk in finite_rows(part.labels, part.teacher_logits, part.student_logits, finite_baseline(part)):
        for column, values in zip(columns, chunk, strict=True):
            if values is not None:
                column.append(np.asarray(values).reshape(-1))
        rows += columns[0][-1].size
        if rows >= THRESHOLD_ROWS:
            break
    if not rows:
        return None
    labels = np.rint(np.concatenate(columns[0])).astype(np.int64)
    scores = [np.concatenate(column) if column else None for column in columns[1:]]
    found = [None if score is None else threshold_shift(score, labels) for score in scores]
    teacher, student, baseline = found
    if teacher is None or student is None:
        return None
    areas = [None if score is None else float(roc_auc_score(labels, score)) for score in scores]
    in_loop = None if run.steps is None or not binary_like(run.manifest) else _in_loop(run.steps)
    assert areas[0] is not None
    assert areas[1] is not None
    return ThresholdShifts(student, teacher, baseline, in_loop, areas[1], areas[0], areas[2])


def _in_loop(steps: Steps) -> ThresholdShift | None:
    """The teacher's logits as the loss used them."""
    logits: list[NDArray[np.floating]] = []
    labels: list[NDArray[np.int64]] = []
    for k in evenly(steps.count, 256):
        z = np.asarray(steps.teacher_logits[int(k)]).reshape(-1)
        y = np.rint(np.asarray(steps.labels[int(k)])).astype(np.int64).reshape(-1)
        if np.isfinite(z).all():
            logits.append(z[y != IGNORED])
            labels.append(y[y != IGNORED])
    return threshold_shift(np.concatenate(logits), np.concatenate(labels)) if logits else None
