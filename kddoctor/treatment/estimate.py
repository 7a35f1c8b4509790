"""How long a treatment would take on this machine, from a few of its steps."""

import itertools
import time
from collections.abc import Callable

from kddoctor.run.directory import Run
from kddoctor.treatment.code_loading import loaded_code
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.schedule import constant, schedule_of
from kddoctor.treatment.session import begin, planned_teacher

#: Steps that are timed, after one that is not: the first pays for allocations.
TIMED = 5


def seconds_of(run: Run, plan: Plan) -> float:
    """Of one training by the plan, with its evaluations. Imports the run's code and takes a few steps with it.

    Raises RunError where the code is missing or broken.
    """
    schedule = schedule_of(plan.manifest.training)
    with loaded_code(run) as code, planned_teacher(code.teacher, plan) as teacher:
        session = begin(plan, code, schedule, constant, teacher)
        session.student.train()
        endless = itertools.chain.from_iterable(session.batches(epoch) for epoch in itertools.count())
        session.step(*next(endless))
        started = time.perf_counter()
        for batch in itertools.islice(endless, TIMED):
            session.step(*batch)
        step = (time.perf_counter() - started) / TIMED
        first, again = (_timed(session.score) for _ in range(2))  # the first one asks the teacher, too
        session.close()
        return session.steps * step + first + schedule.epochs * again


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
