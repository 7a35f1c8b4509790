"""Measurements of where tokens stand, and of the end of the vocabulary."""

from collections.abc import Iterator

import numpy as np

from kddoctor.engine.reading import evenly
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.token_shift import (
    SHIFTS,
    TokenShift,
    found_within,
    sequence_shifts,
    shifted_cross_entropy,
    shifted_hits,
)
from kddoctor.probes.vocabulary import VocabularyTail, mass_at_the_end, zeros_at_the_end
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Elements of logits that are compared, and steps that they come from at least.
ELEMENTS, FEWEST_STEPS = 20_000_000, 4


def measure_positions(run: Run, loss: object) -> Iterator[object]:
    """TokenShift and VocabularyTail, where steps of a task of tokens were recorded."""
    if run.manifest.task != "tokens" or run.steps is None:
        return
    shift = _shift(run.steps, loss)
    if shift is not None:
        yield shift
    tail = _tail(run, run.steps)
    if tail is not None:
        yield tail


def _shift(steps: Steps, loss: object) -> TokenShift | None:
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    chosen = evenly(steps.count, max(FEWEST_STEPS, ELEMENTS // per_step))
    within, elsewhere, counted = 0, 0, 0
    found, hits, places = [], dict.fromkeys(SHIFTS, 0), dict.fromkeys(SHIFTS, 0)
    errors: dict[int, float] = dict.fromkeys(SHIFTS, 0.0)
    compared = 0
    for k in map(int, chosen):
        labels = np.rint(np.asarray(steps.labels[k])).astype(np.int64)
        teacher, student = np.asarray(steps.teacher_logits[k]), np.asarray(steps.student_logits[k])
        check = None if steps.teacher_logits_check is None else np.asarray(steps.teacher_logits_check[k])
        if check is not None and np.isnan(check).all():
            check = None  # a step in which the teacher was not run twice
        own = teacher if check is None else check
        if not (np.isfinite(teacher).all() and np.isfinite(own).all() and np.isfinite(student).all()):
            continue
        if check is not None:
            counts = labels != -100
            found.append(sequence_shifts(teacher, own, counts))
            counted += int(counts.sum())
            within += found_within(teacher, own, counts)
            elsewhere += found_within(teacher, np.roll(own, 1, axis=0), counts)
        for shift in SHIFTS:
            right, number = shifted_hits(own, labels, shift)
            hits[shift], places[shift] = hits[shift] + right, places[shift] + number
        recorded = None if steps.ce_loss is None else float(steps.ce_loss[k])
        if recorded is not None and np.isfinite(recorded):
            compared += 1
            for shift in SHIFTS:
                value = shifted_cross_entropy(student, labels, shift)
                error = abs(value - recorded) / max(abs(recorded), 1e-12)
                errors[shift] = max(errors[shift], error if np.isfinite(error) else np.inf)
    if not places[0]:
        return None
    moved = still = None
    every = np.concatenate(found) if found else np.array([], np.int64)
    if len(every):
        still = float((every == 0).mean())
        moved = {shift: float((every == shift).mean()) for shift in SHIFTS if shift and (every == shift).any()}
    # What stands in another sequence as well stands there by accident.
    moved_within = max(0, within - elsewhere) / counted if counted else None
    accuracy = {shift: hits[shift] / max(1, places[shift]) for shift in SHIFTS}
    known = compared >= FEWEST_STEPS and not (isinstance(loss, LossForensics) and loss.nonfinite_losses)
    return TokenShift(len(every), moved, still, accuracy, places[0], errors if known else None, moved_within)


def _tail(run: Run, steps: Steps) -> VocabularyTail | None:
    manifest = run.manifest
    t = manifest.distillation.temperature or 1.0
    size = (manifest.model_extra or {}).get("tokenizer_size")
    vocabulary = steps.teacher_logits.shape[-1]
    teacher = _sample(steps, steps.teacher_logits)
    if teacher is None:
        return None
    if isinstance(size, int) and 0 < size < vocabulary:
        tokens = vocabulary - size
        return VocabularyTail(
            tokens, "models", "beyond the tokenizer's last token", mass_at_the_end(teacher, t, tokens)
        )
    for name, rows in (("teacher", teacher), ("student", _sample(steps, steps.student_logits))):
        tokens = 0 if rows is None else zeros_at_the_end(rows)
        if 0 < tokens < vocabulary:
            return VocabularyTail(tokens, name, "exactly 0", mass_at_the_end(teacher, t, tokens))
    return VocabularyTail(0, "models", "", 0.0)


def _sample(steps: Steps, array: LazyArray) -> np.ndarray | None:
    per_step = max(1, array.size // max(1, steps.count))
    chosen = evenly(steps.count, max(2, ELEMENTS // 4 // per_step))
    rows = np.concatenate([np.asarray(array[int(k)]).reshape(-1, array.shape[-1]) for k in chosen])
    good = rows[np.isfinite(rows).all(axis=1)]
    return good if len(good) else None
