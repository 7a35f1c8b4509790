"""Measurements of the way from the teacher to the loss."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kddoctor.engine.measuring.splits import Measured, both_passes, held_out_split
from kddoctor.engine.reading import class_rows, evenly
from kddoctor.probes.feature_levels import feature_levels
from kddoctor.probes.output_floor import OutputFloor, output_floor
from kddoctor.probes.passes_again import PassesAgain, passes_again
from kddoctor.probes.sameness import Sameness, sameness_of, skill_at_least
from kddoctor.probes.shifted_rows import ShiftedRows, shifted_rows
from kddoctor.probes.targets_again import TargetsAgain, targets_again
from kddoctor.probes.targets_in_loop import TargetsInLoop, TargetsInLoopProbe
from kddoctor.probes.term_gradients import TermGradients, TermReach, term_gradients_of, term_reach_of
from kddoctor.probes.unit_order import unit_order
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Elements of logits that are compared; more steps are thinned evenly.
COMPARED_ELEMENTS = 20_000_000
#: Examples whose layers are looked at, and elements of one layer of one example.
MOST_EXAMPLES, LAYER_ELEMENTS = 256, 65_536


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    shifted = _shifted_rows(run)
    if shifted is not None:
        yield shifted
    if run.steps is None:
        return
    steps = run.steps
    found = (
        _targets_in_loop(run, steps),
        _targets_again(run, steps),
        _passes_again(run, steps),
        _output_floor(run, steps),
        _sameness(run, steps),
        _term_gradients(steps),
        _term_reach(steps),
        *_of_features(run, steps),
    )
    yield from (value for value in found if value is not None)


def _chosen(steps: Steps) -> list[int]:
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    return [int(k) for k in evenly(steps.count, max(2, COMPARED_ELEMENTS // per_step))]


def _shifted_rows(run: Run) -> ShiftedRows | None:
    """Of the split whose recorded teacher gains most. Positions of a text are no rows, nor are labels of an item."""
    if run.manifest.task not in ("multiclass", "binary"):
        return None
    found = []
    for split in run.splits:
        part = run.predictions(split)
        if part is None or part.teacher_logits is None:
            continue
        first = slice(0, max(1, min(part.n, COMPARED_ELEMENTS // max(1, part.teacher_logits.size // part.n))))
        labels = part.labels[first]
        teacher, truth = class_rows(run.manifest, np.nan_to_num(part.teacher_logits[first]), labels)
        student = None
        if part.student_logits is not None:
            student = class_rows(run.manifest, np.nan_to_num(part.student_logits[first]), labels)[0].argmax(axis=1)
        found.append(shifted_rows(teacher.argmax(axis=1), truth, student))
    return max((one for one in found if one is not None), key=lambda one: one.shifted - one.plain, default=None)


def _targets_in_loop(run: Run, steps: Steps) -> TargetsInLoop | None:
    probe = TargetsInLoopProbe()
    for used, own, labels in both_passes(run.manifest, steps, _chosen(steps)):
        probe.update(used, own, labels)
    return probe.compute()


def _targets_again(run: Run, steps: Steps) -> TargetsAgain | None:
    train = run.predictions("train")
    if train is None or train.teacher_targets is None or run.manifest.task != "multiclass":
        return None
    # In the first half of the steps are those of the first epoch, whose targets were kept.
    late = steps.teacher_logits[steps.count // 2 :]
    used, first = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (late, train.teacher_targets.read()))
    return targets_again(used, first) if np.isfinite(used).all() and np.isfinite(first).all() else None


def _passes_again(run: Run, steps: Steps) -> PassesAgain | None:
    if run.manifest.task != "multiclass":
        return None
    return passes_again(list(both_passes(run.manifest, steps, _chosen(steps))))


def _output_floor(run: Run, steps: Steps) -> OutputFloor | None:
    train = run.predictions("train")
    if run.manifest.task != "multiclass" or train is None or train.teacher_logits is None:
        return None
    own = train.teacher_logits.read()
    if train.teacher_targets is not None:
        return output_floor(train.teacher_targets.read(), own, same_rows=True)
    targets = np.concatenate([steps.teacher_logits[k] for k in _chosen(steps)])
    return output_floor(targets, own, same_rows=False)


def _sameness(run: Run, steps: Steps) -> Sameness | None:
    pairs = ((steps.teacher_logits[k], steps.student_logits[k]) for k in _chosen(steps))
    found = sameness_of((t, s) for t, s in pairs if np.isfinite(t).all() and np.isfinite(s).all())
    if found is None or run.manifest.task == "multilabel" or not np.isfinite(steps.teacher_logits[0]).all():
        return found
    logits, labels = class_rows(run.manifest, steps.teacher_logits[0], steps.labels[0])
    return replace(found, first_skill=skill_at_least(logits, labels))


def _term_gradients(steps: Steps) -> TermGradients | None:
    return term_gradients_of(
        kd_weight=steps.kd_grad_weight,
        ce_weight=steps.ce_grad_weight,
        residual=steps.grad_weight_residual,
        kd_norm=steps.kd_grad_norm,
        total_norm=steps.loss_grad_norm,
    )


def _term_reach(steps: Steps) -> TermReach | None:
    if steps.kd_loss is None or steps.ce_grad_norm is None:
        return None
    return term_reach_of(steps.kd_loss, steps.kd_grad_norm, steps.ce_grad_norm)


def _of_features(run: Run, steps: Steps) -> Iterator[object]:
    """What recorded layers say of a feature loss."""
    features = run.features(held_out_split(run))
    if steps.feature_loss is None or features is None:
        return
    first = slice(0, MOST_EXAMPLES)
    layers = [
        {name: array[first] for name, array in model.items() if array.size // max(1, len(array)) <= LAYER_ELEMENTS}
        for model in (features.teacher, features.student)
    ]
    others = [term for term in (steps.kd_loss, steps.ce_loss) if term is not None and np.isfinite(term).all()]
    yield feature_levels(steps.feature_loss, others, *layers)
    yield unit_order(*layers)
