"""The schedule that a plan is carried out with: the run's own, or a rate that a short probe finds."""

import itertools

from torch import nn

from kddoctor.run.directory import Run
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.rate_probe import fitting_rate
from kddoctor.treatment.schedule import Schedule, Shape, constant, falling, recorded_shape, schedule_of
from kddoctor.treatment.session import begin


def fitting_schedule(run: Run, plan: Plan, code: LoadedCode, teacher: nn.Module) -> tuple[Schedule, Shape]:
    """The run's own schedule and course of the rate; where the plan asks for it, a rate by a probe, to zero in the end.

    A rate after whose first steps the loss is lowest is as high as these bear, and too high for the last ones.
    """
    schedule = schedule_of(plan.manifest.training)
    if not plan.loop.probed_rates:
        return schedule, recorded_shape(run)
    tried_out = lambda tried, steps: _try_out(plan, code, tried, teacher, steps)  # noqa: E731
    return fitting_rate(schedule, plan.loop.probed_rates, tried_out), falling


def _try_out(plan: Plan, code: LoadedCode, schedule: Schedule, teacher: nn.Module, steps: int) -> list[float]:
    """The losses of a fresh student's first steps."""
    session = begin(plan, code, schedule, constant, teacher)
    session.student.train()
    endless = itertools.chain.from_iterable(session.batches(epoch) for epoch in itertools.count())
    losses = [float(session.step(*batch).total) for batch in itertools.islice(endless, steps)]
    session.close()
    return losses
