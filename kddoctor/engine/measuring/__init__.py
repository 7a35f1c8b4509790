"""Runs every probe that the record allows, each once, and hands the results to the rules by type."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.engine.measuring import (
    capacity,
    data,
    deployment,
    losses,
    optimisation,
    pipeline,
    recommenders,
    sequences,
    soft_targets,
)
from kddoctor.engine.measuring.observed import observed
from kddoctor.engine.measuring.rivals import measure_rivals
from kddoctor.engine.measuring.splits import Chunk, Measured, held_out_split, pairs
from kddoctor.engine.outcome import measure_outcome
from kddoctor.engine.reading import (
    binary_like,
    class_rows,
    classes,
    curve_rows,
    evenly,
    finite_baseline,
    finite_rows,
    first_rows,
    shown_rows,
)
from kddoctor.engine.types import Outcome
from kddoctor.errors import RunError, survived
from kddoctor.probes.example_gaps import ExampleGapsProbe
from kddoctor.probes.layer_similarity import LayerSimilarity, LayerSimilarityProbe
from kddoctor.probes.learning_curve import LearningCurve, LearningCurveProbe
from kddoctor.probes.loss_forensics import (
    Declared,
    LossForensics,
    LossForensicsProbe,
    RecordedSteps,
)
from kddoctor.probes.loss_forms import declared_form
from kddoctor.probes.measurements import Gaps, Rivals, TargetSoftness, TeacherView, TeacherViews, TrainGaps
from kddoctor.probes.output_health import OutputHealth
from kddoctor.probes.row_pairing import RowPairing, best_batch_shift, pair_outputs, share_before
from kddoctor.probes.soft_targets import DEFAULT_TEMPERATURES, SoftTargets, SoftTargetsProbe
from kddoctor.probes.teacher_passes import TeacherPasses, TeacherPassesProbe
from kddoctor.probes.teacher_validity import TeacherValidityProbe
from kddoctor.rules.custom import custom_measurements, failed
from kddoctor.rules.registry import all_rules
from kddoctor.run.arrays import LazyArray, first_nonfinite
from kddoctor.run.directory import Run
from kddoctor.run.manifest import Manifest
from kddoctor.run.observations import Observations
from kddoctor.run.predictions import Predictions
from kddoctor.run.steps import Steps

#: What only rules of one family ask for; each sees what was measured before it.
FAMILIES = (pipeline, losses, soft_targets, optimisation, capacity, data, deployment, sequences, recommenders)
#: Elements of recorded logits that forensics looks at; longer samples are thinned evenly.
FORENSIC_ELEMENTS = 40_000_000
#: Rows in which outputs are searched for their owners.
PAIRED_ROWS = 20_000
#: Rows of recorded steps whose targets stand for all, at most and at least.
STEP_ROWS, FEWEST_STEP_ROWS = 2000, 100
#: Rounding that a softmax in float32 (or float16) leaves in the sum of a row.
ROW_SUM = {"F16": 5e-3, "BF16": 3e-2}
#: Decimals to which services round probabilities, and the most by which that may move the sum of a row.
DECIMALS, LARGEST_ROUNDING = (2, 3, 4, 5), 0.2
#: Distance from 0 and from 1 within which probabilities of yes and no lie for some rows; small logits lie between.
NEAR_AN_END = 0.2
#: Beyond these, the squares and sums that probes take leave the range of float32.
LARGEST_LOGIT, LARGEST_ACTIVATION = 1e18, 1e12
#: Usual size of a logit from which a student has diverged, and rows that it is read from.
EXPLODED, EXPLODED_ROWS = 1e6, 1000


def measure(run: Run, *, forensics: bool = True) -> Measured:
    """All measurements that this record allows, by type. forensics: also find out what formula the recorded loss is.

    Raises RunError for values that nothing can read.
    """
    # A student that exploded overflows in many a sum; probes count what is not finite, and nobody needs numpy's word.
    with np.errstate(all="ignore"):
        return _measured(run, forensics)


def _measured(run: Run, forensics: bool) -> Measured:
    measured: Measured = {Manifest: run.manifest, Observations: observed(run)}
    _refuse_broken_teachers(run)
    health = _output_health(run)
    measured[OutputHealth] = health
    if rows := curve_rows(run):
        probe = LearningCurveProbe()
        probe.update(rows)
        measured[LearningCurve] = probe.compute()
    if run.steps is not None:
        if forensics:
            measured[LossForensics] = _forensics(run.manifest, run.steps)
        passes = _teacher_passes(run.manifest, run.steps, run.observations)
        if passes is not None:
            measured[TeacherPasses] = passes
    elif run.observations.teacher_training is not None:
        measured[TeacherPasses] = TeacherPassesProbe(run.observations.teacher_training).compute()
    views = _teacher_views(run)
    if views is not None:
        measured[TeacherViews] = views
        pairing = _row_pairing(run)
        if pairing is not None:
            measured[RowPairing] = pairing
    _add_gaps(run, measured)
    softness = _softness(run, measured.get(LossForensics))
    if softness is not None:
        measured[TargetSoftness] = softness
    similarity = _layer_similarity(run, health)
    if similarity is not None:
        measured[LayerSimilarity] = similarity
    gaps = measured.get(Gaps)
    measured[Outcome] = measure_outcome(run, gaps if isinstance(gaps, Gaps) else None)
    _add_those_of_families(run, measured)
    _add_custom(run, measured)
    return measured


def _add_those_of_families(run: Run, measured: Measured) -> None:
    """One that is wrong about an unusual record costs the rest of its own measurements, not the diagnosis."""
    for family in FAMILIES:
        try:
            for found in family.measurements(run, measured):
                measured[type(found)] = found
        except Exception as error:
            survived(f"measuring {family.__name__.rpartition('.')[2].replace('_', ' ')}", error)


def _add_custom(run: Run, measured: Measured) -> None:
    """What rules of other packages ask for."""
    rules = [rule for rule in all_rules().values() if rule.package]
    asked = {kind: rule.package for rule in rules for kind in (*rule.reads, *rule.uses) if kind not in measured}
    for custom in custom_measurements(asked):
        try:
            found = custom.take(run)
            if not isinstance(found, custom.kind | None):
                raise TypeError(f"it returned a {type(found).__name__}")
        except Exception as error:  # another package's mistake; everything else is still measured
            failed(asked[custom.kind], custom.kind.__name__, error)
            continue
        if found is not None:
            measured[custom.kind] = found


# Values that cannot be measured --------------------------------------------------------------------------


def _refuse_broken_teachers(run: Run) -> None:
    for split in run.splits:
        part = run.predictions(split)
        assert part is not None
        for name in ("teacher_logits", "teacher_targets", "baseline_logits"):
            array = getattr(part, name)
            if name == "baseline_logits" and _saw_divergence(run):
                continue  # the twin of a run that diverged may well have diverged too
            # A labels-only student may have diverged; a frozen teacher has not.
            largest = np.inf if name == "baseline_logits" else LARGEST_LOGIT
            found = None if array is None else _unusable(array, largest)
            if found is not None:
                raise RunError(part.file, name, found, "finite logits")


def _unusable(array: LazyArray, largest: float) -> str | None:
    """What is wrong with the values of an array, None where nothing is."""
    count, row = first_nonfinite(array, largest=largest)
    if not count:
        return None
    kind = f"beyond {largest:g}" if np.isfinite(array[row]).all() else "NaN or infinite"
    return f"{kind} in {count} places, the first in row {row}"


def _output_health(run: Run) -> OutputHealth:
    """Share of rows without a finite student output; a few of them without any other sign are a broken record."""
    rows = broken = 0
    first: tuple[str, int] | None = None
    for split in run.splits:
        part = run.predictions(split)
        assert part is not None
        if part.student_logits is None:
            continue
        start = 0
        for chunk in part.student_logits.chunks():
            bad = ~np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
            if bad.any() and first is None:
                first = (part.file, start + int(bad.argmax()))
            rows, broken, start = rows + len(chunk), broken + int(bad.sum()), start + len(chunk)
    share = broken / rows if rows else 0.0
    if first is not None and share < 1 and not _diverged(run):
        found = f"NaN or infinite in {broken} of {rows} rows, the first in row {first[1]}"
        raise RunError(first[0], "student_logits", found, "finite logits")
    return OutputHealth(rows, share, 0.0)


def _diverged(run: Run) -> bool:
    """Whether the record says so itself; outputs are only looked at where something in it cannot be measured."""
    return _saw_divergence(run) or _exploded(run)


def _exploded(run: Run) -> bool:
    """Whether the student's logits that are finite are beyond all bounds, most of them or one by far: then what else of
    it is no number, or none that a network has, overflowed.
    """
    part = run.predictions(held_out_split(run))
    if part is None or part.student_logits is None:
        return False
    rows = first_rows(part.student_logits, EXPLODED_ROWS)
    finite = np.abs(rows[np.isfinite(rows)].astype(np.float64))
    return bool(len(finite)) and (float(np.median(finite)) > EXPLODED or float(finite.max()) > LARGEST_LOGIT)


def _saw_divergence(run: Run) -> bool:
    losses = [row.get("loss") for row in run.metrics]
    logged = any(isinstance(value, float) and not np.isfinite(value) for value in losses)
    stepped = run.steps is not None and not np.isfinite(run.steps.loss).all()
    return bool(run.observations.nonfinite_steps) or logged or stepped


# Steps ---------------------------------------------------------------------------------------------------


def _forensics(manifest: Manifest, steps: Steps) -> LossForensics:
    meant = manifest.distillation
    declared = Declared(
        form=declared_form(meant.loss, meant.temperature),
        alpha=meant.alpha,
        temperature=meant.temperature,
        temperature_squared=meant.temperature_squared,
    )
    chosen = examined_steps(steps)
    precision = min(
        (steps.student_logits.dtype, steps.teacher_logits.dtype),
        key=("BF16", "F16", "F32", "F64").index,
    )

    def fed(temperatures: tuple[float, ...]) -> LossForensicsProbe:
        probe = LossForensicsProbe(
            declared,
            link="sigmoid" if binary_like(manifest) else "softmax",
            precision=precision,
            weighted_terms=steps.weighted_terms,
            temperatures=temperatures,
        )
        for k in chosen:
            probe.update(_step(steps, int(k)))
        return probe

    loss = losses.explained_loss(manifest, steps, fed)
    return losses.compared_with_a_part(manifest, steps, loss, chosen)


def examined_steps(steps: Steps) -> NDArray[np.int64]:
    """Positions of the recorded steps that loss forensics looks at."""
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    return evenly(steps.count, max(8, FORENSIC_ELEMENTS // per_step))


def _step(steps: Steps, k: int) -> RecordedSteps:
    one = slice(k, k + 1)

    def column(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if values is None else values[one]

    return RecordedSteps(
        student_logits=steps.student_logits[one],
        teacher_logits=steps.teacher_logits[one],
        labels=np.rint(np.asarray(steps.labels[one])).astype(np.int64),
        loss=steps.loss[one],
        kd_loss=column(steps.kd_loss),
        ce_loss=column(steps.ce_loss),
        feature_loss=column(steps.feature_loss),
        mask=None if steps.mask is None else np.asarray(steps.mask[one], bool),
    )


def _teacher_passes(manifest: Manifest, steps: Steps, seen: Observations) -> TeacherPasses | None:
    if steps.teacher_logits_check is None and seen.teacher_training is None:
        return None
    same = None if seen.same_inputs is None else float(seen.same_inputs)
    probe = TeacherPassesProbe(seen.teacher_training, same)
    if steps.teacher_logits_check is not None:
        for k in range(steps.count):
            first, second = steps.teacher_logits[k], steps.teacher_logits_check[k]
            if np.isfinite(first).all() and np.isfinite(second).all():
                if binary_like(manifest):
                    first, second = first.reshape(-1, 1), second.reshape(-1, 1)
                probe.update(first, second)
    return probe.compute()


# The teacher ---------------------------------------------------------------------------------------------


def _teacher_views(run: Run) -> TeacherViews | None:
    split = held_out_split(run)
    held_out, train = run.predictions(split), run.predictions("train")
    own = _view(run, held_out, "teacher_logits")
    own_train = _view(run, train, "teacher_logits") if split != "train" else None
    loops = [
        view
        for view in (
            _steps_view(run),
            *(_view(run, run.predictions(s), "teacher_targets") for s in run.splits),
        )
        if view is not None
    ]
    in_loop = min(loops, key=lambda view: view.skill) if loops else None
    if own is None and in_loop is None:
        return None
    student = False
    if held_out is not None and held_out.student_logits is not None:
        student = _probabilities(run.manifest, held_out.student_logits)
    return TeacherViews(own, own_train, in_loop, student)


def _view(run: Run, part: Predictions | None, name: str) -> TeacherView | None:
    array: LazyArray | None = None if part is None else getattr(part, name)
    if part is None or array is None:
        return None
    source = part.file.removesuffix(".safetensors") + (": teacher_targets" if name == "teacher_targets" else "")
    return _view_of(run.manifest, source, name == "teacher_targets", array, lambda: pairs(run.manifest, part, array))


def _steps_view(run: Run) -> TeacherView | None:
    steps = run.steps
    if steps is None:
        return None

    def chunks() -> Iterator[Chunk]:
        for k in range(steps.count):
            logits, labels = steps.teacher_logits[k], steps.labels[k]
            if np.isfinite(logits).all():
                yield class_rows(run.manifest, logits, labels)

    return _view_of(run.manifest, "steps", True, steps.teacher_logits, chunks)


def _view_of(
    manifest: Manifest, source: str, in_loop: bool, array: LazyArray, chunks: Callable[[], Iterator[Chunk]]
) -> TeacherView | None:
    probe = TeacherValidityProbe(classes(manifest))
    scores: list[NDArray[np.floating]] = []
    truth: list[NDArray[np.int64]] = []
    rows = 0
    for logits, labels in chunks():
        probe.update(logits, labels)
        rows += len(labels)
        if binary_like(manifest):
            scores.append(logits[:, 1])
            truth.append(labels)
    if not rows:
        return None
    auc = None
    if scores:
        y = np.concatenate(truth)
        if 0 < y.sum() < len(y):
            from sklearn.metrics import roc_auc_score

            auc = float(roc_auc_score(y, np.concatenate(scores)))
    probabilities = _probabilities(manifest, array)
    chances = not probabilities and not binary_like(manifest) and _chances(array)
    return TeacherView(source, in_loop, probe.compute(), probabilities, auc, chances)


def _probabilities(manifest: Manifest, array: LazyArray) -> bool:
    """Whether every value lies in [0, 1] and, for classes, every row sums to one."""
    exact = ROW_SUM.get(array.dtype, 1e-3)
    width = array.shape[-1]
    varied = False
    for chunk in array.chunks():
        values = chunk[np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)]
        if not len(values):
            continue
        if values.min() < 0 or values.max() > 1:
            return False
        off = 0.0 if binary_like(manifest) else float(np.abs(values.sum(axis=-1) - 1).max())
        if off > exact and off > min(LARGEST_ROUNDING, width * _rounding(values)):
            return False
        # A binary model whose logits all happen to be small is no sigmoid: both ends must be in use.
        both_ends = bool(values.min() < NEAR_AN_END and values.max() > 1 - NEAR_AN_END)
        varied = varied or not binary_like(manifest) or both_ends
    return varied


def _chances(array: LazyArray) -> bool:
    """Whether every value lies in [0, 1] and the median row uses both ends, as a sigmoid of each logit does.

    Rows that were scaled to [0, 1] by their own smallest and largest value hold exactly these.
    """
    lowest, highest = [], []
    for chunk in array.chunks():
        values = chunk[np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)]
        if not len(values):
            continue
        if values.min() < 0 or values.max() > 1:
            return False
        lowest.append(values.min(axis=-1).ravel())
        highest.append(values.max(axis=-1).ravel())
    if not lowest:
        return False
    low, high = np.concatenate(lowest), np.concatenate(highest)
    scaled = bool((low == 0).all() and (high == 1).all())
    return not scaled and float(np.median(low)) < NEAR_AN_END and float(np.median(high)) > 1 - NEAR_AN_END


def _rounding(values: NDArray[np.floating]) -> float:
    """Half of the last decimal to which all values were rounded; 0 where they were not."""
    for decimals in DECIMALS:
        scaled = values.astype(np.float64) * 10**decimals
        if np.abs(scaled - np.rint(scaled)).max() < 1e-2:
            return float(0.5 * 10.0**-decimals)
    return 0.0


def _row_pairing(run: Run) -> RowPairing | None:
    if run.manifest.task == "multilabel":
        return None
    in_place, elsewhere, rows, source, before = float("nan"), 0.0, 0, "steps", 0.0
    for split in run.splits:
        part = run.predictions(split)
        if part is None or part.teacher_targets is None or part.teacher_logits is None:
            continue
        first = slice(0, min(part.n, PAIRED_ROWS))
        used, own = (_output_rows(run.manifest, a[first]) for a in (part.teacher_targets, part.teacher_logits))
        in_place, elsewhere = pair_outputs(used, own)
        before = share_before(used, own, len(run.steps.labels[0]) if run.steps is not None else 0)
        rows, source = len(used), f"{part.file}: teacher_targets"
    check = None if run.steps is None else run.steps.teacher_logits_check
    if run.steps is not None and check is not None and not rows:
        flat = [_output_rows(run.manifest, a.read())[:PAIRED_ROWS] for a in (run.steps.teacher_logits, check)]
        good = np.isfinite(flat[0]).all(axis=1) & np.isfinite(flat[1]).all(axis=1)
        if good.any():
            labels = np.asarray(run.steps.labels.read()).reshape(-1)[:PAIRED_ROWS][good]
            in_place, elsewhere = pair_outputs(flat[0][good], flat[1][good], labels)
            rows, source = int(good.sum()), "steps"
    shift, plain, shifted = 0, float("nan"), float("nan")
    if run.steps is not None and run.manifest.task == "multiclass":
        chosen = evenly(run.steps.count, 64)
        logits = np.stack([run.steps.teacher_logits[int(k)] for k in chosen])
        labels = np.stack([run.steps.labels[int(k)] for k in chosen])
        shift, plain, shifted = best_batch_shift(np.nan_to_num(logits), labels)
    elif not rows:
        return None
    return RowPairing(rows, in_place, elsewhere, shift, plain, shifted, source, before)


def _output_rows(manifest: Manifest, logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """[n, C], and [n, 1] where every row has one logit."""
    return logits.reshape(-1, 1) if binary_like(manifest) else logits.reshape(-1, logits.shape[-1])


# Gaps and soft targets -----------------------------------------------------------------------------------


def _add_gaps(run: Run, measured: Measured) -> None:
    split = held_out_split(run)
    gaps, rivals = _gaps(run, split), measure_rivals(run, split)
    if rivals is not None:
        measured[Rivals] = rivals
    if gaps is not None:
        baseline = gaps.baseline_accuracy
        seen = run.observations.baseline
        if baseline is None and seen is not None and isinstance(seen.metric, float):
            baseline = seen.metric if 0 <= seen.metric <= 1 and not binary_like(run.manifest) else None
        measured[Gaps] = Gaps(split, gaps, baseline, rivals if binary_like(run.manifest) else None)
    train = _gaps(run, "train") if split != "train" else None
    if train is not None:
        measured[TrainGaps] = TrainGaps(train)


def _gaps(run: Run, split: str) -> Any:
    part = run.predictions(split)
    if part is None or part.teacher_logits is None or part.student_logits is None:
        return None
    probe = ExampleGapsProbe(classes(run.manifest))
    arrays = (part.teacher_logits, part.student_logits, part.labels, finite_baseline(part))
    rows = 0
    for teacher, student, labels, baseline in finite_rows(*arrays):
        t, y = class_rows(run.manifest, teacher, labels)
        s, _ = class_rows(run.manifest, student, labels)
        b = None if baseline is None else class_rows(run.manifest, baseline, labels)[0]
        probe.update(t, s, y, b)
        rows += len(y)
    return probe.compute() if rows else None


def _softness(run: Run, loss: object) -> TargetSoftness | None:
    meant = run.manifest.distillation
    temperature = meant.temperature or (1.0 if meant.loss in ("mse", "none") else None)
    if isinstance(loss, LossForensics) and loss.term is not None:
        objective = loss.term.form.objective
        temperature = (temperature or 1.0) if objective.family == "mse" else loss.term.form.teacher_temperature
    if temperature is None:
        # Neither declared nor recovered from the loss: how soft the targets were is not known.
        return None
    split = held_out_split(run)
    held_out = _soft_targets(run, split, temperature)
    train = _soft_targets(run, "train", temperature) if split != "train" else None
    if train is None and held_out is None:
        return None
    return TargetSoftness(temperature, train, held_out, _softness_in_loop(run, temperature))


def _softness_in_loop(run: Run, temperature: float) -> SoftTargets | None:
    """Of the rows that recorded steps hold, where nobody kept the targets of a whole split."""
    part, steps = run.predictions("train"), run.steps
    if steps is None or (part is not None and part.teacher_targets is not None):
        return None
    logits, labels = shown_rows(run.manifest, steps, STEP_ROWS)
    if len(logits) < FEWEST_STEP_ROWS:
        return None
    probe = SoftTargetsProbe(_temperatures(temperature), classes(run.manifest))
    probe.update(logits, labels)
    return probe.compute()


def _temperatures(own: float) -> list[float]:
    return sorted({*map(float, DEFAULT_TEMPERATURES), own})


def _soft_targets(run: Run, split: str, temperature: float) -> SoftTargets | None:
    part = run.predictions(split)
    array = None if part is None else part.teacher_targets or part.teacher_logits
    if part is None or array is None:
        return None
    probe = SoftTargetsProbe(_temperatures(temperature), classes(run.manifest))
    rows = 0
    for logits, labels in pairs(run.manifest, part, array):
        probe.update(logits, labels)
        rows += len(logits)
    return probe.compute() if rows else None


def _layer_similarity(run: Run, health: OutputHealth) -> LayerSimilarity | None:
    """Layers against layers. Raises RunError for values that are no activations, unless training explains them."""
    split = held_out_split(run)
    features = run.features(split)
    if features is None or not features.teacher or not features.student:
        return None
    rows = min(len(array) for array in (*features.teacher.values(), *features.student.values()))
    if rows < 4:
        return None
    for array in (*features.teacher.values(), *features.student.values()):
        found = _unusable(array, LARGEST_ACTIVATION)
        if found is None:
            continue
        if health.student_nonfinite_rows > 0 or _diverged(run):
            return None
        raise RunError(f"features/{split}.safetensors", array.name, found, "finite activations")
    probe = LayerSimilarityProbe(tuple(features.teacher), tuple(features.student))
    for start in range(0, rows, 256):
        block = slice(start, min(rows, start + 256))
        probe.update(
            {name: _as_rows(array[block]) for name, array in features.teacher.items()},
            {name: _as_rows(array[block]) for name, array in features.student.items()},
        )
    return probe.compute()


def _as_rows(block: NDArray[np.floating]) -> NDArray[np.floating]:
    """[n, d]: a layer of one number for each example comes as [n]."""
    return block.reshape(len(block), -1)
