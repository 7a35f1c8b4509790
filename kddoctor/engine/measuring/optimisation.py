"""Measurements of the way that the student took: first answers, rates, and how well its own objective is fitted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from kddoctor.engine.measuring.splits import Measured
from kddoctor.engine.reading import class_rows, classes, evenly, finite_rows
from kddoctor.probes.feature_term import FeatureTerm, feature_term
from kddoctor.probes.rate_signs import RateSignsProbe
from kddoctor.probes.scale_fit import Family, ScaleFit, ScaleFitProbe
from kddoctor.probes.student_path import StudentPath, StudentPathProbe
from kddoctor.probes.term_pull import TermPull, TermPullProbe
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Recorded steps that are looked at, and logits of all of them together.
MOST_STEPS, MOST_ELEMENTS = 24, 20_000_000
#: Logits of training rows that the objective is computed from, once for every factor.
SCALED_ELEMENTS = 4_000_000
#: Classes up to which the pull of a term is computed: it is a matrix of classes by classes.
MOST_PULLED = 1024
FAMILIES = ("kl", "reverse-kl", "mse")


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """Whichever of StudentPath, ScaleFit, TermPull, RateSigns and FeatureTerm the record allows."""
    signs = None
    if run.metrics:
        probe = RateSignsProbe()
        probe.update(run.metrics)
        signs = probe.compute()
    found = (
        signs,
        None if run.steps is None else _student_path(run, run.steps),
        *_fits(run),
        None if run.steps is None else _feature_term(run.steps),
    )
    yield from (item for item in found if item is not None)


def _student_path(run: Run, steps: Steps) -> StudentPath | None:
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = max(2, min(MOST_STEPS, MOST_ELEMENTS // per_step))
    probe = StudentPathProbe(classes(run.manifest), run.manifest.distillation.temperature or 1.0)
    # Steps kept for their jump are not what the way was like where they stand.
    spread = np.arange(steps.count) if steps.jumped is None else np.flatnonzero(steps.jumped != 1)
    for k in spread[evenly(len(spread), most)].tolist():
        student, labels = class_rows(run.manifest, steps.student_logits[k], steps.labels[k])
        teacher, _ = class_rows(run.manifest, steps.teacher_logits[k], steps.labels[k])
        probe.update(int(steps.step[k]), student, teacher, labels)
    path = probe.compute()
    return None if path is None else replace(path, gradient_ratio=_gradient_ratio(steps))


def _gradient_ratio(steps: Steps) -> float | None:
    if steps.grad_norm is None or steps.expected_grad_norm is None:
        return None
    good = np.isfinite(steps.grad_norm) & (steps.expected_grad_norm > 0)
    return float(np.median(steps.grad_norm[good] / steps.expected_grad_norm[good])) if good.any() else None


def _fits(run: Run) -> tuple[ScaleFit | None, TermPull | None]:
    """How far the student rests on its declared objective, on training rows."""
    meant, part = run.manifest.distillation, run.predictions("train")
    if part is None or part.student_logits is None or part.teacher_logits is None:
        return None, None
    if meant.loss not in FAMILIES or meant.alpha is None or meant.alpha > 1:
        return None, None
    if meant.temperature is None and meant.loss != "mse":
        return None, None
    family, temperature = cast(Family, meant.loss), meant.temperature or 1.0
    fit = ScaleFitProbe(family, temperature, meant.alpha, squared=meant.temperature_squared)
    pull: TermPullProbe | None = None
    left = SCALED_ELEMENTS
    for teacher, student, labels in finite_rows(part.teacher_logits, part.student_logits, part.labels):
        t, y = class_rows(run.manifest, teacher, labels)
        s, _ = class_rows(run.manifest, student, labels)
        most = max(1, left // s.shape[1])
        if pull is None and s.shape[1] <= MOST_PULLED:
            pull = TermPullProbe(family, temperature, meant.alpha, s.shape[1], squared=meant.temperature_squared)
        for probe in (fit, pull):
            if probe is not None:
                probe.update(s[:most], t[:most], y[:most])
        left -= s[:most].size
        if left <= 0:
            break
    return fit.compute(), None if pull is None else pull.compute()


def _feature_term(steps: Steps) -> FeatureTerm | None:
    if steps.feature_loss is None or not np.isfinite(steps.feature_loss).any():
        return None
    return feature_term(steps.loss, steps.kd_loss, steps.ce_loss, steps.feature_loss)
