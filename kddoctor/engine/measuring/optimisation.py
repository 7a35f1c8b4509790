"""Measurements of the way that the student took: first answers, rates, and how well its own objective is fitted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import Measured
from kddoctor.engine.reading import binary_like, class_rows, classes, curve_rows, evenly, finite_rows
from kddoctor.probes.feature_term import FeatureTerm, feature_term, redrawn
from kddoctor.probes.logit_gradient import LogitGradient, LogitGradientProbe
from kddoctor.probes.output_fit import MOST_CLASSES, MOST_ROWS, OutputFit, output_fit
from kddoctor.probes.rate_signs import RateSignsProbe
from kddoctor.probes.scale_fit import Family, ScaleFit, ScaleFitProbe
from kddoctor.probes.student_path import StudentPath, StudentPathProbe
from kddoctor.probes.teacher_spread import TeacherSpread, TeacherSpreadProbe
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Recorded steps that are looked at, and logits of all of them together.
MOST_STEPS, MOST_ELEMENTS = 24, 20_000_000
#: Logits of training rows that the objective is computed from, once for every factor.
SCALED_ELEMENTS = 4_000_000
FAMILIES = ("kl", "reverse-kl", "mse")


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """Whichever of StudentPath, ScaleFit, OutputFit, RateSigns and FeatureTerm the record allows."""
    signs = None
    if rows := curve_rows(run):
        probe = RateSignsProbe()
        probe.update(rows)
        signs = probe.compute()
    found = (
        signs,
        None if run.steps is None else _student_path(run, run.steps),
        None if run.steps is None else _teacher_spread(run, run.steps),
        None if run.steps is None else _logit_gradient(run, run.steps),
        _scale_fit(run),
        _output_fit(run),
        None if run.steps is None else _feature_term(run, run.steps),
    )
    yield from (item for item in found if item is not None)


def _along_the_way(steps: Steps) -> list[int]:
    """Recorded steps that show what the way was like: those kept for their jump do not, where they stand."""
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = max(2, min(MOST_STEPS, MOST_ELEMENTS // per_step))
    spread = np.arange(steps.count) if steps.jumped is None else np.flatnonzero(steps.jumped != 1)
    return [int(k) for k in spread[evenly(len(spread), most)]]


def _teacher_spread(run: Run, steps: Steps) -> TeacherSpread | None:
    probe = TeacherSpreadProbe()
    width = 1 if binary_like(run.manifest) else steps.teacher_logits.shape[-1]
    for k in _along_the_way(steps):
        probe.update(int(steps.step[k]), steps.teacher_logits[k].reshape(-1, width))
    return probe.compute()


def _student_path(run: Run, steps: Steps) -> StudentPath | None:
    probe = StudentPathProbe(classes(run.manifest), run.manifest.distillation.temperature or 1.0)
    for k in _along_the_way(steps):
        student, labels = class_rows(run.manifest, steps.student_logits[k], steps.labels[k])
        teacher, _ = class_rows(run.manifest, steps.teacher_logits[k], steps.labels[k])
        probe.update(int(steps.step[k]), student, teacher, labels)
    path = probe.compute()
    return None if path is None else replace(path, gradient_ratio=_gradient_ratio(steps), taught=_taught(steps))


def _taught(steps: Steps) -> bool | None:
    """Recorders leave a norm out, or write 0, where a term has no graph: that of the labels says that they looked."""
    if steps.ce_grad_norm is None:
        return None
    looked = np.isfinite(steps.ce_grad_norm) & (steps.ce_grad_norm > 0)
    if not looked.any() or steps.kd_loss is None:
        return None
    kd = np.zeros(steps.count) if steps.kd_grad_norm is None else np.nan_to_num(steps.kd_grad_norm)
    return bool((kd[looked] > 0).any())


def _gradient_ratio(steps: Steps) -> float | None:
    if steps.grad_norm is None or steps.expected_grad_norm is None:
        return None
    good = np.isfinite(steps.grad_norm) & (steps.expected_grad_norm > 0)
    return float(np.median(steps.grad_norm[good] / steps.expected_grad_norm[good])) if good.any() else None


def _logit_gradient(run: Run, steps: Steps) -> LogitGradient | None:
    """From the norm of the gradient before anything was done to it."""
    meant, norms = run.manifest.distillation, steps.expected_grad_norm
    if norms is None or meant.loss != "kl" or not _declared(run) or binary_like(run.manifest):
        return None
    assert meant.alpha is not None
    assert meant.temperature is not None
    probe = LogitGradientProbe(meant.temperature, meant.alpha, squared=meant.temperature_squared)
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    for k in map(int, evenly(steps.count, max(2, min(MOST_STEPS, MOST_ELEMENTS // per_step)))):
        student, labels = class_rows(run.manifest, steps.student_logits[k], steps.labels[k])
        teacher, _ = class_rows(run.manifest, steps.teacher_logits[k], steps.labels[k])
        if len(student) and np.isfinite(student).all() and np.isfinite(teacher).all():
            probe.update(student, teacher, labels, float(norms[k]))
    return probe.compute()


def _scale_fit(run: Run) -> ScaleFit | None:
    if not _declared(run):
        return None
    meant = run.manifest.distillation
    assert meant.alpha is not None
    probe = ScaleFitProbe(
        cast(Family, meant.loss), meant.temperature or 1.0, meant.alpha, squared=meant.temperature_squared
    )
    for rows in _training_rows(run):
        probe.update(*rows)
    return probe.compute()


def _output_fit(run: Run) -> OutputFit | None:
    if not _declared(run) or classes(run.manifest) > MOST_CLASSES:
        return None
    meant, chunks, rows = run.manifest.distillation, [], 0
    for chunk in _training_rows(run):
        chunks.append(chunk)
        rows += len(chunk[0])
        if rows >= MOST_ROWS:
            break
    if not rows:
        return None
    student, teacher, labels = (np.concatenate(column)[:MOST_ROWS] for column in zip(*chunks, strict=True))
    assert meant.alpha is not None
    return output_fit(
        student,
        teacher,
        labels.astype(np.int64),
        cast(Family, meant.loss),
        meant.temperature or 1.0,
        meant.alpha,
        squared=meant.temperature_squared,
    )


def _declared(run: Run) -> bool:
    """Whether the manifest says all that the objective needs."""
    meant = run.manifest.distillation
    if meant.loss not in FAMILIES or meant.alpha is None or meant.alpha > 1:
        return False
    return meant.temperature is not None or meant.loss == "mse"


def _training_rows(run: Run) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.int64]]]:
    """(student logits [n, C], teacher logits [n, C], labels [n]) of training rows in evaluation mode, as many as
    SCALED_ELEMENTS allows.
    """
    part = run.predictions("train")
    if part is None or part.student_logits is None or part.teacher_logits is None:
        return
    left = SCALED_ELEMENTS
    for teacher, student, labels in finite_rows(part.teacher_logits, part.student_logits, part.labels):
        t, y = class_rows(run.manifest, teacher, labels)
        s, _ = class_rows(run.manifest, student, labels)
        most = max(1, left // s.shape[1])
        yield s[:most], t[:most], y[:most]
        left -= s[:most].size
        if left <= 0:
            return


def _feature_term(run: Run, steps: Steps) -> FeatureTerm | None:
    if steps.feature_loss is None or not np.isfinite(steps.feature_loss).any():
        return None
    found = feature_term(steps.loss, steps.kd_loss, steps.ce_loss, steps.feature_loss)
    return None if found is None else replace(found, redrawn=redrawn(run.metrics or ()))
