"""Measurements of the way from the teacher to the loss."""

from collections.abc import Iterator

import numpy as np

from kddoctor.engine.measuring.rivals import measure_rivals
from kddoctor.engine.measuring.splits import Measured, both_passes, held_out_split
from kddoctor.engine.reading import evenly
from kddoctor.probes.sameness import Sameness, sameness_of
from kddoctor.probes.targets_in_loop import TargetsInLoop, TargetsInLoopProbe
from kddoctor.probes.term_gradients import TermGradients, term_gradients_of
from kddoctor.run.directory import Run
from kddoctor.run.steps import Steps

#: Elements of logits that are compared; more steps are thinned evenly.
COMPARED_ELEMENTS = 20_000_000


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    rivals = measure_rivals(run, held_out_split(run))
    if rivals is not None:
        yield rivals
    if run.steps is None:
        return
    targets = _targets_in_loop(run, run.steps)
    if targets is not None:
        yield targets
    same = _sameness(run.steps)
    if same is not None:
        yield same
    gradients = _term_gradients(run.steps)
    if gradients is not None:
        yield gradients


def _chosen(steps: Steps) -> list[int]:
    per_step = max(1, steps.student_logits.size // max(1, steps.count))
    return [int(k) for k in evenly(steps.count, max(2, COMPARED_ELEMENTS // per_step))]


def _targets_in_loop(run: Run, steps: Steps) -> TargetsInLoop | None:
    probe = TargetsInLoopProbe()
    for used, own, labels in both_passes(run.manifest, steps, _chosen(steps)):
        probe.update(used, own, labels)
    return probe.compute()


def _sameness(steps: Steps) -> Sameness | None:
    pairs = ((steps.teacher_logits[k], steps.student_logits[k]) for k in _chosen(steps))
    return sameness_of((t, s) for t, s in pairs if np.isfinite(t).all() and np.isfinite(s).all())


def _term_gradients(steps: Steps) -> TermGradients | None:
    return term_gradients_of(
        kd_weight=steps.kd_grad_weight,
        ce_weight=steps.ce_grad_weight,
        residual=steps.grad_weight_residual,
        kd_norm=steps.kd_grad_norm,
        total_norm=steps.loss_grad_norm,
    )
