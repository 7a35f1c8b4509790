"""Measurements of the loss and its gradients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import Measured
from kddoctor.engine.reading import binary_like, evenly
from kddoctor.probes.gradient_rhythm import GradientRhythm, gradient_rhythm
from kddoctor.probes.gradient_scale import CONSTANT, GradientScale, Ratio, one_beside_the_other, part_of_rows, ratio
from kddoctor.probes.loss_forensics import LossForensics, LossForensicsProbe, investigate
from kddoctor.probes.loss_forms import LossForm, declared_form
from kddoctor.probes.loss_mistakes import LossMistakes, search_mistakes
from kddoctor.probes.loss_numerics import (
    NO_NOISE,
    BrokenStep,
    LossNumerics,
    Noise,
    first_broken_gradient,
    noise_of,
)
from kddoctor.probes.loss_of_a_part import LossOfAPart, loss_of_a_part
from kddoctor.probes.loss_schedule import MIN_STEPS, LossSchedule, find_schedule
from kddoctor.probes.loss_sums import row_blocks
from kddoctor.probes.loss_temperatures import MOST_STEPS, two_temperatures
from kddoctor.probes.mistaken_forms import Kind, StepRows, divergences, jensen_shannon, log_partition
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest
from kddoctor.run.steps import Steps

#: Steps in which mistakes are searched for, and elements of logits that they may hold together.
SEARCHED_STEPS, SEARCHED_ELEMENTS, FEWEST_STEPS = 24, 20_000_000, 8

#: Losses that are compared with the declared one where a part of each batch was recorded, and tasks in which none are:
#: rows of a list, of labels or of tokens hang together.
CHECKED_IN_PART, NO_ROWS_ALONE = ("kl", "reverse-kl"), ("tokens", "ranking", "multilabel")

#: Precisions in which recorded logits are what the loss saw.
EXACT = ("F32", "F64")
#: Part of the total's gradient that its terms may leave unexplained where a weight is read from it.
RESIDUAL = 1e-3
#: Mean cross-entropy, in nats, below which float32 has lost more digits than an identity needs.
LOST_DIGITS = 1e-2


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    rhythm = _rhythm(run)
    if rhythm is not None:
        yield rhythm
    loss = measured.get(LossForensics)
    if run.steps is None or not isinstance(loss, LossForensics):
        return
    mistakes = _mistakes(run.manifest, run.steps, loss)
    yield mistakes
    yield _numerics(run, run.steps, loss, mistakes)
    schedule = _schedule(run.manifest, run.steps, loss)
    if schedule is not None:
        yield schedule
    scale = _gradient_scale(run.manifest, run.steps, loss)
    if scale is not None:
        yield scale


def explained_loss(
    manifest: Manifest, steps: Steps, fed: Callable[[tuple[float, ...]], LossForensicsProbe]
) -> LossForensics:
    """The formula that reproduces the recorded losses; where none of the usual temperatures does, of any two.

    fed: a probe that was given the steps, with these temperatures beside the usual ones.
    """
    loss = investigate(fed)
    if loss.term is not None or loss.declared_holds or loss.kd_always_zero or not loss.steps or steps.kd_loss is None:
        return loss
    usable = np.flatnonzero(np.isfinite(steps.kd_loss) & np.isfinite(steps.loss))
    chosen = usable[evenly(len(usable), MOST_STEPS)] if len(usable) else usable
    rows = [rows_of_step(manifest, steps, int(k)) for k in chosen]
    finite = [np.isfinite(step.student).all() and np.isfinite(step.teacher).all() for step in rows]
    if not rows or not all(finite):
        return loss
    found = two_temperatures(rows, steps.kd_loss[chosen])
    if found is None:
        return loss
    again = fed(found).compute()
    return loss if again.term is None else again


def compared_with_a_part(
    manifest: Manifest, steps: Steps, loss: LossForensics, chosen: NDArray[np.int64]
) -> LossForensics:
    """The same, with the declared divergence taken of the rows that are there, where the loss is of more than these.

    chosen: positions of the steps to look at, in the order of time.
    """
    if loss.term is not None or loss.declared_holds or loss.kd_always_zero:
        return loss
    part = _loss_of_a_part(manifest, steps, loss.classes, chosen)
    # Of a part of the rows no form gives the recorded number: that none does says nothing.
    return loss if part is None else replace(loss, part=part, declared_errors=None)


def _loss_of_a_part(manifest: Manifest, steps: Steps, classes: int, chosen: NDArray[np.int64]) -> LossOfAPart | None:
    meant, batch, rows = manifest.distillation, manifest.training.batch_size, steps.labels.shape[1]
    if steps.kd_loss is None or meant.loss not in CHECKED_IN_PART or manifest.task in NO_ROWS_ALONE:
        return None
    if batch is None or rows >= batch or meant.temperature is None:
        return None
    weight = (meant.alpha if steps.weighted_terms else 1.0) or 1.0
    t, squared = meant.temperature, meant.temperature**2 if meant.temperature_squared else 1.0
    recorded, declared = steps.kd_loss[chosen], np.full(len(chosen), np.nan)
    for place, k in enumerate(chosen):
        step = rows_of_step(manifest, steps, int(k))
        counted = step.counts
        teacher, student = step.teacher[counted] / t, step.student[counted] / t
        if not counted.any() or not (np.isfinite(teacher).all() and np.isfinite(student).all()):
            continue
        pair = (student, teacher) if meant.loss == "reverse-kl" else (teacher, student)
        declared[place] = weight * squared * float(divergences(*pair).mean())
    return loss_of_a_part(recorded, declared, rows=rows, batch=batch, classes=classes, squared=squared)


def _mistakes(manifest: Manifest, steps: Steps, loss: LossForensics) -> LossMistakes:
    nothing = LossMistakes(loss.steps, loss.tolerance, False, (), None, float("nan"), float("nan"), False)
    meant = manifest.distillation
    column = _column_of_term(manifest, steps)
    if loss.declared_holds or column is None or meant.loss == "none" or not loss.steps:
        return nothing
    usable = np.flatnonzero(np.isfinite(column) & np.isfinite(steps.loss))
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = min(SEARCHED_STEPS, max(FEWEST_STEPS, SEARCHED_ELEMENTS // per_step))
    chosen, rows = [], []
    for k in usable[evenly(len(usable), most)] if len(usable) else ():
        step = rows_of_step(manifest, steps, int(k))
        if np.isfinite(step.student).all() and np.isfinite(step.teacher).all() and step.counts.any():
            chosen.append(int(k))
            rows.append(step)
    if not rows:
        return nothing
    recorded = column[chosen]
    if steps.kd_loss is None:
        assert meant.alpha
        ce = [_cross_entropy(step) for step in rows] if steps.ce_loss is None else steps.ce_loss[chosen]
        recorded = (recorded - (1 - meant.alpha) * np.asarray(ce)) / meant.alpha
    t = meant.temperature or 1.0
    weight = (meant.alpha or 1.0) if steps.weighted_terms and steps.kd_loss is not None else 1.0
    mistakes = search_mistakes(
        rows,
        recorded,
        temperatures=tuple(dict.fromkeys((t, 1.0))),
        tolerance=loss.tolerance,
        jsd_factors=tuple(dict.fromkeys((weight * t * t, weight))),
        jsd_meant=meant.loss == "jsd",
    )
    norms = steps.kd_grad_norm
    if mistakes.zero != "exact" or norms is None or not np.isfinite(norms).any():
        return mistakes
    return replace(mistakes, still=bool((norms[np.isfinite(norms)] == 0).all()))


def _column_of_term(manifest: Manifest, steps: Steps) -> NDArray[np.float64] | None:
    """[K] the distillation term, or the total where the declared weights leave it of that; None where they do not."""
    if steps.kd_loss is not None:
        return steps.kd_loss
    if not manifest.distillation.alpha or steps.weighted_terms or steps.feature_loss is not None:
        return None
    return steps.loss if steps.ce_loss is None else np.where(np.isfinite(steps.ce_loss), steps.loss, np.nan)


# Schedules -----------------------------------------------------------------------------------------------


def _schedule(manifest: Manifest, steps: Steps, loss: LossForensics) -> LossSchedule | None:
    """Where constant weights and a constant form do not explain the record: a weight that moves steadily."""
    meant = manifest.distillation
    alpha = meant.alpha
    if alpha is None or not 0 < alpha < 1 or loss.kd_always_zero or steps.feature_loss is not None:
        return None
    moving = loss.mix is None or loss.mix.schedule is not None
    if not moving and (loss.term is not None or steps.kd_loss is None):
        return None
    good, ce, declared = _recomputed(manifest, steps)
    if len(good) < MIN_STEPS:
        return None
    term = steps.kd_loss
    total, recorded = steps.loss[good], None if term is None else term[good]
    if steps.weighted_terms and recorded is not None:
        # The weights stand in the terms: what is left to move is within the term.
        declared = None if declared is None else alpha * declared
        return find_schedule(steps.step[good], total, ce, recorded, declared, alpha, balance=1.0)
    balance = None
    if not moving and loss.mix is not None and loss.mix.ce_weight:
        balance = loss.mix.kd_weight / loss.mix.ce_weight * (1 - alpha) / alpha
    elif not moving:
        return None
    return find_schedule(steps.step[good], total, ce, recorded, declared, alpha, balance=balance)


def _recomputed(
    manifest: Manifest, steps: Steps
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None]:
    """(positions of usable steps, hard-label term, declared distillation term or None where none is known)."""
    columns = [c for c in (steps.loss, steps.kd_loss, steps.ce_loss) if c is not None]
    usable = np.flatnonzero(np.isfinite(np.stack(columns)).all(axis=0))
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = max(FEWEST_STEPS, SEARCHED_ELEMENTS // per_step)
    kept, hard, soft = [], [], []
    for k in usable[evenly(len(usable), most)] if len(usable) else ():
        rows = rows_of_step(manifest, steps, int(k))
        if np.isfinite(rows.student).all() and np.isfinite(rows.teacher).all() and rows.counts.any():
            kept.append(int(k))
            hard.append(_cross_entropy(rows) if steps.ce_loss is None else float(steps.ce_loss[k]))
            soft.append(_declared_term(manifest, rows))
    declared = None if any(value is None for value in soft) else np.array(soft, np.float64)
    return np.array(kept, np.int64), np.array(hard), declared


def _cross_entropy(rows: StepRows) -> float:
    """Mean over the labelled rows that count."""
    total = count = 0.0
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block] & (rows.labels[block] >= 0)
        s, y = rows.student[block][keep], rows.labels[block][keep]
        if len(s):
            total += float((log_partition(s)[:, 0] - s[np.arange(len(y)), y]).sum())
            count += len(s)
    return total / max(1.0, count)


def _declared_term(manifest: Manifest, rows: StepRows) -> float | None:
    """The declared distillation term of one step, its factor included; None where the manifest names none."""
    meant = manifest.distillation
    form = declared_form(meant.loss, meant.temperature)
    if form is None:
        return None
    t = form.student_temperature
    factor = t * t if meant.temperature_squared and form.family != "mse" else 1.0
    if form.family == "jsd":
        return factor * float(jensen_shannon(rows, t, np.array([0.5]))[0])
    total = 0.0
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block]
        s, z = rows.student[block][keep] / t, rows.teacher[block][keep] / t
        if form.family == "mse":
            total += float(((s - z) ** 2).mean(axis=1).sum())
        elif len(s):
            total += float(divergences(*((z, s) if form.family == "kl" else (s, z))).sum())
    return factor * total / max(1, int(rows.counts.sum()))


# Numerics ------------------------------------------------------------------------------------------------


def _numerics(run: Run, steps: Steps, loss: LossForensics, mistakes: LossMistakes) -> LossNumerics:
    broken = ~np.isfinite(steps.loss)
    first: BrokenStep | None = None
    empty = 0
    for count, k in enumerate(np.flatnonzero(broken)):
        rows = rows_of_step(run.manifest, steps, int(k))
        empty += not rows.counts.any()
        if count == 0:
            first = _broken_step(run.manifest, steps, int(k), rows)
    noise = _noise(run.manifest, steps, loss, mistakes)
    return LossNumerics(
        steps=steps.count,
        broken=int(broken.sum()),
        broken_without_rows=empty,
        first=first,
        gradient_broke=first_broken_gradient(_logged(run)),
        declared=noise is not NO_NOISE,
        noise=noise.noise,
        relative_noise=noise.relative,
        negative=noise.negative,
        mixed=noise.mixed,
        halves=noise.halves,
    )


def _broken_step(manifest: Manifest, steps: Steps, k: int, rows: StepRows) -> BrokenStep:
    both = np.isfinite(rows.student).all() and np.isfinite(rows.teacher).all()
    largest = float(max(np.abs(rows.student).max(), np.abs(rows.teacher).max())) if both else float("inf")
    exact = float("nan")
    meant = manifest.distillation
    if both and rows.counts.any() and meant.loss != "none":
        t = meant.temperature or 1.0
        exact = t * t * sum(float(each.sum()) for each, _ in _by_block(rows, t)) / int(rows.counts.sum())
    earlier = steps.loss[:k][np.isfinite(steps.loss[:k])]
    return BrokenStep(
        step=int(steps.step[k]),
        finite_logits=bool(both),
        largest_logit=largest,
        exact=exact,
        before=float(np.median(earlier)) if len(earlier) else float("nan"),
        term=None if steps.kd_loss is None else not np.isfinite(steps.kd_loss[k]),
    )


def _by_block(rows: StepRows, t: float) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """(divergences, entropies of the teacher plus cross-entropies) of the rows that count."""
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block]
        s, z = rows.student[block][keep] / t, rows.teacher[block][keep] / t
        if len(s):
            log_q, log_p = s - log_partition(s), z - log_partition(z)
            p = np.exp(log_p)
            yield (p * (log_p - log_q)).sum(axis=1), -(p * (log_p + log_q)).sum(axis=1)


def _logged(run: Run) -> list[tuple[int, float, float | None]]:
    """(step, loss, norm of the gradient) of the training steps in metrics.jsonl."""
    rows: list[tuple[int, float, float | None]] = []
    for row in run.metrics or ():
        loss, norm = row.get("loss"), row.get("grad_norm")
        if row.get("split") == "train" and isinstance(loss, int | float):
            step = row.get("step")
            known = float(norm) if isinstance(norm, int | float) else None
            rows.append((step if isinstance(step, int) else len(rows), float(loss), known))
    return rows


def _noise(manifest: Manifest, steps: Steps, loss: LossForensics, mistakes: LossMistakes) -> Noise:
    """Of a declared KL that no formula reproduces exactly, where logits were recorded as the loss saw them."""
    meant = manifest.distillation
    known = steps.student_logits.dtype in EXACT and steps.teacher_logits.dtype in EXACT
    if steps.kd_loss is None or not known or meant.loss != "kl" or meant.temperature is None:
        return NO_NOISE
    another = mistakes.found or mistakes.zero or (loss.term is not None and not _plainly_declared(loss, manifest))
    if another or not mistakes.searched:
        return NO_NOISE
    t = meant.temperature
    weight = (meant.alpha or 1.0) if steps.weighted_terms else 1.0
    factor = weight * (t * t if meant.temperature_squared else 1.0)
    recorded, exact, size = [], [], []
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = max(FEWEST_STEPS, SEARCHED_ELEMENTS // per_step)
    usable = np.flatnonzero(np.isfinite(steps.kd_loss) & np.isfinite(steps.loss))
    for k in usable[evenly(len(usable), most)] if len(usable) else ():
        rows = rows_of_step(manifest, steps, int(k))
        if np.isfinite(rows.student).all() and np.isfinite(rows.teacher).all() and rows.counts.any():
            sums = [(float(a.sum()), float(b.sum())) for a, b in _by_block(rows, t)]
            count = int(rows.counts.sum())
            recorded.append(float(steps.kd_loss[k]))
            exact.append(factor * sum(a for a, _ in sums) / count)
            size.append(factor * sum(b for _, b in sums) / count)
    return noise_of(np.array(recorded), np.array(exact), np.array(size), factor)


def _plainly_declared(loss: LossForensics, manifest: Manifest) -> bool:
    term = loss.term
    return term is not None and term.form.objective == declared_form(
        manifest.distillation.loss, manifest.distillation.temperature
    )


# Gradients -----------------------------------------------------------------------------------------------


def _rhythm(run: Run) -> GradientRhythm | None:
    """Of the gradient's norm in metrics.jsonl; None where the length of an epoch is not known."""
    steps: list[int] = []
    norms: list[float] = []
    epochs: list[int | None] = []
    for row in run.metrics or ():
        step, norm, epoch = row.get("step"), row.get("grad_norm"), row.get("epoch")
        if row.get("split", "train") == "train" and isinstance(step, int) and isinstance(norm, int | float):
            steps.append(step)
            norms.append(float(norm))
            epochs.append(epoch if isinstance(epoch, int) else None)
    per_epoch = _steps_of_an_epoch(steps, epochs, run.manifest.training.epochs)
    return None if per_epoch is None else gradient_rhythm(steps, norms, per_epoch)


def _steps_of_an_epoch(steps: Sequence[int], epochs: Sequence[int | None], declared: int | None) -> int | None:
    """From the epochs that were logged, or from their declared number."""
    if len(steps) < 2:
        return None
    first, last = epochs[0], epochs[-1]
    if first is not None and last is not None and last > first:
        begins = steps[list(epochs).index(last)]
        return max(1, round((begins - steps[0]) / (last - first)))
    return max(1, round((steps[-1] + 1) / declared)) if declared else None


def _gradient_scale(manifest: Manifest, steps: Steps, loss: LossForensics) -> GradientScale | None:
    parameters = term = part = labels = beside = None
    if steps.expected_grad_norm is not None and steps.grad_norm is not None:
        parameters = ratio(steps.grad_norm, steps.expected_grad_norm, clipping=True)
    squares = None if steps.kd_grad_norm is None else _closed_squares(manifest, steps, loss)
    if steps.kd_grad_norm is not None and squares is not None:
        term = ratio(steps.kd_grad_norm, np.sqrt(squares.sum(axis=1)))
        if term is not None and term.spread > 2 * CONSTANT:
            part = part_of_rows(steps.kd_grad_norm, squares)
    weight = _weight_in_gradient(steps, loss)
    of_labels = _labels_gradient(manifest, steps, loss.tolerance)
    if steps.ce_grad_norm is not None and of_labels is not None:
        labels = ratio(steps.ce_grad_norm, of_labels)
        if steps.kd_grad_norm is not None and squares is not None:
            measured, expected = steps.kd_grad_norm / steps.ce_grad_norm, np.sqrt(squares.sum(axis=1)) / of_labels
            beside = one_beside_the_other(measured, expected)
    if parameters is None and term is None and weight is None and labels is None:
        return None
    return GradientScale(parameters, term, weight, part, labels, beside)


def _weight_in_gradient(steps: Steps, loss: LossForensics) -> Ratio | None:
    """Of the distillation term's share in the total's gradient, by its weight in the total's value."""
    mix = loss.mix
    if steps.kd_grad_weight is None or mix is None or mix.schedule or not mix.kd_weight or not loss.kd_recorded:
        return None
    explained = steps.kd_grad_weight
    if steps.grad_weight_residual is not None:
        explained = np.where(steps.grad_weight_residual < RESIDUAL, explained, np.nan)
    expected = np.full(len(explained), 1.0 if steps.weighted_terms else mix.kd_weight)
    weight = ratio(explained, expected)
    # A weight does not vary by itself; what it is fitted to does.
    return None if weight is None else replace(weight, varied=1.0)


def _labels_gradient(manifest: Manifest, steps: Steps, tolerance: float) -> NDArray[np.float64] | None:
    """[K] norms of the hard-label term's gradient in the student's logits, NaN where unknown, where its value is a
    constant times a plain cross-entropy; None where it is not.
    """
    if steps.ce_loss is None or steps.ce_grad_norm is None:
        return None
    usable = np.flatnonzero(np.isfinite(steps.ce_grad_norm) & np.isfinite(steps.ce_loss) & np.isfinite(steps.loss))
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = max(FEWEST_STEPS, SEARCHED_ELEMENTS // per_step)
    chosen = usable[evenly(len(usable), most)] if len(usable) else usable
    values, norms = np.full(steps.count, np.nan), np.full(steps.count, np.nan)
    for k in chosen:
        rows = rows_of_step(manifest, steps, int(k))
        if (rows.counts & (rows.labels >= 0)).any():
            values[k], norms[k] = _cross_entropy(rows), _cross_entropy_gradient(rows)
    recorded = steps.ce_loss / np.maximum(values, 1e-12)
    factor = float(np.nanmedian(recorded)) if np.isfinite(recorded).any() else float("nan")
    # A loss near zero has lost its digits.
    told = values > LOST_DIGITS
    if not (np.abs(recorded[told] - factor) <= tolerance * abs(factor)).all():
        return None
    return np.where(told, factor * norms, np.nan)


def _cross_entropy_gradient(rows: StepRows) -> float:
    """Norm of the gradient of ``_cross_entropy`` in the student's logits."""
    square = count = 0.0
    for block in row_blocks(*rows.student.shape):
        keep = rows.counts[block] & (rows.labels[block] >= 0)
        s, y = rows.student[block][keep], rows.labels[block][keep]
        gradient = np.exp(s - log_partition(s)) if len(s) else s
        gradient[np.arange(len(y)), y] -= 1
        # Of [0, z], only the second is the student's own.
        own = gradient if rows.kind in ("classes", "tokens") else gradient[:, 1:]
        square += float((own**2).sum())
        count += len(s)
    return float(np.sqrt(square)) / max(1.0, count)


def _closed_squares(manifest: Manifest, steps: Steps, loss: LossForensics) -> NDArray[np.float64] | None:
    """[K, rows] squared norm, in each row's logits, of the gradient of factor × KL(teacher ‖ student) at T, mean over
    the rows.

    The gradient is factor (softmax(z_s / T) − softmax(z_t / T)) / (T n) a row. None where another form was fitted.
    """
    fit = loss.term
    if fit is None or fit.source != "kd_loss" or fit.form.temperature is None or fit.rivals:
        return None
    if fit.form.objective != LossForm("kl", fit.form.temperature, fit.form.temperature):
        return None
    if manifest.task == "multilabel":
        return None
    t = fit.form.temperature
    assert steps.kd_grad_norm is not None
    squares = np.full((steps.count, int(np.prod(steps.labels.shape[1:]))), np.nan)
    usable = np.flatnonzero(np.isfinite(steps.kd_grad_norm) & np.isfinite(steps.loss))
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    most = max(FEWEST_STEPS, SEARCHED_ELEMENTS // per_step)
    for k in usable[evenly(len(usable), most)] if len(usable) else ():
        rows = rows_of_step(manifest, steps, int(k))
        each = np.zeros(len(rows.counts))
        for block in row_blocks(*rows.student.shape):
            s, z = rows.student[block] / t, rows.teacher[block] / t
            difference = np.exp(s - log_partition(s)) - np.exp(z - log_partition(z))
            # Of [0, z], only the second is the student's own.
            own = difference[:, 1:] if rows.kind == "yes-or-no" else difference
            each[block] = np.where(rows.counts[block], (own**2).sum(axis=1), 0.0)
        # The factor multiplies a mean over what the probe counts as a row of the batch.
        count = len(rows.counts) if rows.kind == "yes-or-no" else int(rows.counts.sum())
        squares[k] = each * (fit.factor / (t * max(1, count))) ** 2
    return squares


def rows_of_step(manifest: Manifest, steps: Steps, k: int) -> StepRows:
    """One step as rows of class logits; all of them, those that are masked too."""
    student, teacher = (np.asarray(a[k], np.float64) for a in (steps.student_logits, steps.teacher_logits))
    labels = np.rint(np.asarray(steps.labels[k])).astype(np.int64)
    shape = labels.shape
    if binary_like(manifest):
        kind: Kind = "labels" if manifest.task == "multilabel" else "yes-or-no"
        student, teacher = (np.stack([np.zeros(z.size), z.reshape(-1)], axis=1) for z in (student, teacher))
        return StepRows(student, teacher, labels.reshape(-1), np.ones(labels.size, bool), shape, kind)
    classes = student.shape[-1]
    flat = labels.reshape(-1)
    counts = flat != -100
    if steps.mask is not None:
        counts = np.asarray(steps.mask[k], bool).reshape(-1)
    kind = "tokens" if manifest.task == "tokens" else "classes"
    return StepRows(student.reshape(-1, classes), teacher.reshape(-1, classes), flat, counts, shape, kind)
