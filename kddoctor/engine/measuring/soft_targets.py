"""Measurements of what the soft targets say."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from kddoctor.engine.measuring.splits import Measured, held_out_split
from kddoctor.engine.reading import (
    binary_like,
    class_rows,
    classes,
    evenly,
    finite_baseline,
    finite_rows,
    first_rows,
    shown_rows,
)
from kddoctor.probes.ensemble import EnsembleMeans, ensemble_means
from kddoctor.probes.gradient_ratio import gradient_ratio
from kddoctor.probes.logit_scale import LogitScale, LogitScaleProbe
from kddoctor.probes.loop_teacher import LoopTeacher, loop_teacher
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.non_target_structure import (
    MAX_PATTERN_CLASSES,
    ClassPatterns,
    NonTargetStructure,
    NonTargetStructureProbe,
    RowPatterns,
)
from kddoctor.probes.surest_rows import SurestRows, SurestRowsProbe
from kddoctor.probes.teacher_errors import TeacherErrors, TeacherErrorsBySplit, TeacherErrorsProbe
from kddoctor.probes.truncated_teacher import (
    MIN_STEPS_TOTAL_ONLY,
    OWNERS,
    Chooser,
    TruncatedTeacherProbe,
    Truncation,
)
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Elements of recorded logits that are searched for a shortened teacher; longer samples are thinned evenly.
SEARCHED_ELEMENTS = 20_000_000
#: A step larger than this is not searched: a long list of classes costs a sort each.
LARGEST_STEP = 70_000_000
#: Temperatures beside the declared one, for vocabularies that one pass more is nothing for.
TEMPERATURES, FEW_CLASSES = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 20.0), 4096


#: Array of steps.safetensors with the answers of each of several teachers.
MEMBER_LOGITS = "teacher_member_logits"
#: Elements of predictions that are looked at; longer ones are thinned by whole rows.
LOOKED_AT = 60_000_000
#: Rows of the teacher in the loop, and at evaluation, that are compared.
COMPARED_ROWS = 2000


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    truncation = _truncation(run, measured.get(LossForensics))
    if truncation is not None:
        yield truncation
    loss = measured.get(LossForensics)
    if run.steps is not None and isinstance(loss, LossForensics):
        gradients = gradient_ratio(run.steps.kd_grad_norm, run.steps.ce_grad_norm, run.steps.weighted_terms, loss)
        if gradients is not None:
            yield gradients
    ensemble = _ensemble(run)
    if ensemble is not None:
        yield ensemble
    split = held_out_split(run)
    errors = TeacherErrorsBySplit(_errors(run, "train") if split != "train" else None, _errors(run, split))
    if errors.train is not None or errors.held_out is not None:
        yield errors
    structure = _structure(run, split)
    if structure is not None:
        yield structure
    surest = _surest(run, split)
    if surest is not None:
        yield surest
    scale = _scale(run, split)
    if scale is not None:
        yield scale
    loop = _loop_teacher(run, split)
    if loop is not None:
        yield loop


def _rows(run: Run, split: str) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(teacher, student, labels-only twin, labels) of a split as class rows, evenly thinned; without them None."""
    part = run.predictions(split)
    if part is None or part.teacher_logits is None:
        return
    every = -(-part.teacher_logits.size // LOOKED_AT)
    arrays = (part.teacher_logits, part.labels, part.student_logits, finite_baseline(part))
    for teacher, truth, *models in finite_rows(*arrays):
        rows, labels = class_rows(run.manifest, teacher, truth)
        student, twin = (None if z is None else class_rows(run.manifest, z, truth)[0][::every] for z in models)
        if len(rows):
            yield rows[::every], student, twin, labels[::every]


def _errors(run: Run, split: str) -> TeacherErrors | None:
    probe = TeacherErrorsProbe(classes(run.manifest))
    for teacher, student, twin, labels in _rows(run, split):
        probe.update(teacher, labels, student, twin)
    return probe.compute()


def _structure(run: Run, split: str) -> NonTargetStructure | None:
    """On the rows that the student was shown where they were recorded; against its twin on held-out ones."""
    number = classes(run.manifest)
    if number < 3:
        return None
    found = None
    for source in ("train", split):
        probe = NonTargetStructureProbe(number)
        for teacher, _, _, labels in _rows(run, source):
            probe.update(teacher, labels)
        found = probe.compute()
        if found is not None:
            break
    if found is None or number > MAX_PATTERN_CLASSES:
        return found
    patterns, by_row = ClassPatterns(number), RowPatterns(number)
    for teacher, student, twin, labels in _rows(run, split):
        if twin is not None:
            patterns.update(teacher, twin, labels)
        if student is not None:
            by_row.update(teacher, student, labels)
    return replace(found, pattern_of_twin=patterns.correlation(), followed=by_row.correlation())


def _surest(run: Run, split: str) -> SurestRows | None:
    """On held-out rows: what a teacher has learnt, it may be surer of than it is right elsewhere."""
    if classes(run.manifest) < 3:
        return None
    probe = SurestRowsProbe()
    for teacher, _, _, labels in _rows(run, split):
        probe.update(teacher, labels)
    return probe.compute()


def _scale(run: Run, split: str) -> LogitScale | None:
    probe = LogitScaleProbe()
    for teacher, student, _, _ in _rows(run, split):
        if student is not None:
            probe.update(teacher, student)
    return probe.compute()


def _loop_teacher(run: Run, split: str) -> LoopTeacher | None:
    """The steps' teacher beside that of the predictions, of training rows where they were recorded."""
    steps, manifest = run.steps, run.manifest
    if steps is None:
        return None
    for source in ("train", split):
        part = run.predictions(source)
        if part is None or part.teacher_logits is None:
            continue
        logits = np.asarray(first_rows(part.teacher_logits, COMPARED_ROWS), np.float32)
        rows, _ = class_rows(manifest, logits, part.labels[: len(logits)])
        loop, _ = shown_rows(manifest, steps, COMPARED_ROWS)
        own = rows[np.isfinite(rows).all(axis=1)][:COMPARED_ROWS]
        return loop_teacher(loop, own, manifest.distillation.temperature or 1.0, same_split=source == "train")
    return None


def _truncation(run: Run, loss: object) -> Truncation | None:
    """Searched only where no form over all classes reproduces the recorded loss; in the teacher's order first."""
    steps, manifest = run.steps, run.manifest
    if steps is None or binary_like(manifest) or not isinstance(loss, LossForensics):
        return None
    if loss.kd_always_zero or loss.term is not None:
        return None
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    if per_step > LARGEST_STEP:
        return None
    number = classes(manifest)
    if steps.kd_loss is None and (steps.weighted_terms or steps.feature_loss is not None):
        return None
    declared = manifest.distillation.temperature
    wanted = {1.0, *([declared] if declared else [])}
    if number <= FEW_CLASSES:
        wanted |= set(TEMPERATURES)
    best: Truncation | None = None
    for chooser in OWNERS:
        found = _truncation_by(chooser, steps, number, sorted(wanted), per_step)
        if found is not None and (best is None or found.error < best.error):
            best = found
        if best is not None and best.error <= loss.tolerance:
            break
    return best


def _truncation_by(
    chooser: Chooser, steps: Steps, number: int, temperatures: list[float], per_step: int
) -> Truncation | None:
    probe = TruncatedTeacherProbe(number, temperatures, chooser)
    for k in map(int, evenly(steps.count, max(MIN_STEPS_TOTAL_ONLY, SEARCHED_ELEMENTS // per_step))):
        student, teacher = (a[k].reshape(-1, number) for a in (steps.student_logits, steps.teacher_logits))
        counts = np.rint(np.asarray(steps.labels[k])).reshape(-1) != -100
        if steps.mask is not None:
            counts &= np.asarray(steps.mask[k], bool).reshape(-1)
        student, teacher = student[counts], teacher[counts]
        truth = np.rint(np.asarray(steps.labels[k])).astype(np.int64).reshape(-1)[counts]
        if not len(student) or not (np.isfinite(student).all() and np.isfinite(teacher).all()):
            continue
        probe.update(
            student,
            teacher,
            float(steps.loss[k]),
            None if steps.kd_loss is None else float(steps.kd_loss[k]),
            float(steps.ce_loss[k]) if steps.ce_loss is not None else _cross_entropy(student, truth),
        )
    return probe.compute()


def _cross_entropy(logits: Any, labels: Any) -> float:
    """Mean over rows that have a label, where the loop recorded its total alone."""
    kept = labels >= 0
    if not kept.any():
        return 0.0
    log_q = log_softmax(np.asarray(logits[kept], np.float64), axis=1)
    return float(-log_q[np.arange(len(log_q)), labels[kept]].mean())


def _ensemble(run: Run) -> EnsembleMeans | None:
    """From steps: ``teacher_member_logits`` [K, M, …], an array that the recorder adds for several teachers."""
    steps = run.steps
    members = None if steps is None else steps.extra.get(MEMBER_LOGITS)
    if steps is None or members is None or members.ndim != steps.teacher_logits.ndim + 1:
        return None
    if members.shape[:1] + members.shape[2:] != steps.teacher_logits.shape:
        return None
    parts: list[Any] = []
    rows: list[Any] = []
    truth: list[Any] = []
    # Not every step has them: they come from the second pass, which not every step gets.
    known = [k for k in range(steps.count) if np.isfinite(members[k]).all()]
    for at in map(int, evenly(len(known), max(1, LOOKED_AT // max(1, members.size // steps.count)))) if known else ():
        k = known[at]
        labels = steps.labels[k]
        whole, classes_of_rows = class_rows(run.manifest, steps.teacher_logits[k], labels)
        rows.append(whole)
        truth.append(classes_of_rows)
        parts.append(np.stack([class_rows(run.manifest, one, labels)[0] for one in members[k]]))
    if not rows:
        return None
    return ensemble_means(np.concatenate(parts, axis=1), np.concatenate(rows), np.concatenate(truth))
