"""Measurements of sequences."""

from collections.abc import Iterator

import numpy as np

from kddoctor.engine.measuring.splits import Measured, both_passes, held_out_split
from kddoctor.engine.measuring.token_positions import measure_positions
from kddoctor.engine.reading import evenly, finite_rows
from kddoctor.probes.chunks import IGNORED_LABEL
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.probes.past_its_best import past_its_best
from kddoctor.probes.row_ends import RowEnds, RowEndsProbe
from kddoctor.probes.row_lengths import RowLengths, RowLengthsProbe, TrainedLengths
from kddoctor.probes.sampled_texts import sampled_texts
from kddoctor.probes.targets_against_own import TargetsAgainstOwn, TargetsAgainstOwnProbe
from kddoctor.probes.token_reading import ReadingInLoop, TokenReading, TokenReadingProbe
from kddoctor.probes.user_facts import (
    own_samples_of,
    section_of,
    seed_metrics_of,
    share_of,
    tokenizers_of,
    trace_lengths_of,
    training_windows_of,
    whole_of,
)
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Rows of steps in which targets are held against the teacher's own answers.
COMPARED_ROWS = 20_000
#: Frequent tokens whose reading is checked, and elements of logits that are read for it.
MOST_TOKENS, READ_ELEMENTS = 128, 200_000_000


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    against = _targets_against_own(run)
    if against is not None:
        yield against
    peak = past_its_best(run.metrics)
    if peak is not None:
        yield peak
    if run.manifest.task == "tokens":
        yield from _of_tokens(run)
    yield from measure_positions(run, measured.get(LossForensics))
    texts = sampled_texts(run.metrics)
    if texts is not None:
        yield texts
    yield from _told(run)


def _told(run: Run) -> Iterator[object]:
    """What a user or an importer wrote down."""
    sequences = section_of(run.observations, "sequences")
    counts = run.observations.parameters
    found = (
        tokenizers_of(sequences),
        own_samples_of(sequences),
        trace_lengths_of(sequences, None if counts is None else counts.student),
        training_windows_of(section_of(run.observations, "training_windows")),
        seed_metrics_of(section_of(run.observations, "seed_metrics")),
    )
    yield from (each for each in found if each is not None)


def _of_tokens(run: Run) -> Iterator[object]:
    lengths = _trained_lengths(run)
    if lengths is not None:
        yield lengths
        ends = _row_ends(run, lengths.train.longest)
        if ends is not None:
            yield ends
    reading = _token_reading(run)
    if reading is not None:
        yield reading
    in_loop = _reading_in_loop(run)
    if in_loop is not None:
        yield ReadingInLoop(in_loop)


def _targets_against_own(run: Run) -> TargetsAgainstOwn | None:
    steps = run.steps
    if steps is None or steps.teacher_logits_check is None or run.manifest.task == "multilabel":
        return None
    probe = TargetsAgainstOwnProbe()
    for targets, again, labels in both_passes(run.manifest, steps, range(steps.count)):
        probe.update(targets, again, labels)
        if probe.rows >= COMPARED_ROWS:
            break
    return probe.compute() if probe.rows else None


# Tokens ---------------------------------------------------------------------------------------------------


def _trained_lengths(run: Run) -> TrainedLengths | None:
    split = held_out_split(run)
    held_out = _lengths(run, split)
    train, source = (_lengths(run, "train"), "predictions/train") if split != "train" else (None, "")
    if train is None and run.steps is not None:
        train, source = _lengths_of_steps(run.steps), "steps"
    if train is None or held_out is None:
        return None
    sequences = section_of(run.observations, "sequences")
    limit, cut = whole_of(sequences.get("max_length")), share_of(sequences.get("truncated_share"))
    return TrainedLengths(train, held_out, source, limit, cut)


def _row_ends(run: Run, longest: int) -> RowEnds | None:
    sequences = section_of(run.observations, "sequences")
    eos = whole_of(sequences.get("eos_token_id"))
    if eos is None:
        return None
    probe = RowEndsProbe(eos, longest, whole_of(sequences.get("teacher_eos_token_id")))
    part = run.predictions("train")
    if part is not None:
        for labels in part.labels.chunks():
            probe.update(np.asarray(labels).astype(np.int64))
    elif run.steps is not None:
        for k in range(run.steps.count):
            probe.update(np.rint(np.asarray(run.steps.labels[k])).astype(np.int64))
    return probe.compute()


def _lengths(run: Run, split: str) -> RowLengths | None:
    part = run.predictions(split)
    if part is None or part.labels.ndim != 2:
        return None
    probe = RowLengthsProbe()
    for labels in part.labels.chunks():
        probe.update(np.asarray(labels).astype(np.int64))
    return probe.compute()


def _lengths_of_steps(steps: Steps) -> RowLengths:
    probe = RowLengthsProbe()
    for k in range(steps.count):
        probe.update(np.rint(np.asarray(steps.labels[k])).astype(np.int64))
    return probe.compute()


def _token_reading(run: Run) -> TokenReading | None:
    parts = [part for part in map(run.predictions, run.splits) if part is not None and part.teacher_logits is not None]
    vocabulary = run.manifest.num_classes
    if not parts or vocabulary is None:
        return None
    counts = np.zeros(vocabulary, np.int64)
    for part in parts:
        for labels in part.labels.chunks():
            flat = np.asarray(labels).astype(np.int64).ravel()
            counts += np.bincount(flat[flat != IGNORED_LABEL], minlength=vocabulary)
    tokens = np.argsort(-counts, kind="stable")[:MOST_TOKENS]
    probe = TokenReadingProbe(vocabulary, tokens)
    read = 0
    for part in parts:
        assert part.teacher_logits is not None
        if part.teacher_logits.ndim != 3:
            return None
        for logits, labels in finite_rows(part.teacher_logits, part.labels):
            if read < READ_ELEMENTS:
                probe.update(logits, np.asarray(labels).astype(np.int64))
            read += logits.size
    return probe.compute()


def _reading_in_loop(run: Run) -> TokenReading | None:
    steps, vocabulary = run.steps, run.manifest.num_classes
    if steps is None or vocabulary is None or steps.teacher_logits.ndim != 4:
        return None
    if steps.teacher_logits.shape[-1] != vocabulary:
        return None
    labels = np.rint(np.asarray(steps.labels.read())).astype(np.int64)
    counts = np.bincount(labels[labels != IGNORED_LABEL], minlength=vocabulary)
    probe = TokenReadingProbe(vocabulary, np.argsort(-counts, kind="stable")[:MOST_TOKENS])
    per_step = max(1, steps.teacher_logits.size // max(1, steps.count))
    for k in map(int, evenly(steps.count, max(1, READ_ELEMENTS // per_step))):
        logits = np.asarray(steps.teacher_logits[k])
        if np.isfinite(logits).all():
            probe.update(logits, labels[k])
    return probe.compute()
