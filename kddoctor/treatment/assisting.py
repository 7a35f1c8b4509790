"""The teacher of a plan: the run's own, or an assistant of a size in between that learned from it first."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from kddoctor.errors import RunError
from kddoctor.run.directory import Run
from kddoctor.run.manifest import MANIFEST_FILE
from kddoctor.treatment.checkpointed import train
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.fitting import fitting_schedule
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.session import Session, begin, planned_teacher
from kddoctor.treatment.team import ALONE, Team

WEIGHTS = "assistant.pt"


@contextmanager
def teacher_of(run: Run, plan: Plan, code: LoadedCode, work: Path, team: Team = ALONE) -> Iterator[nn.Module]:
    """The model that teaches, frozen. Mirzadeh et al. 2020, arXiv:1902.03393: from step to step, each a smaller one.

    work: keeps the assistant's checkpoints, then its weights. team: whose leader trains it, for all. Raises RunError
    where the run's code makes no assistant.
    """
    with planned_teacher(code.teacher, plan) as teacher:
        if not plan.loop.assistant:
            yield teacher
            return
        if code.make_assistant is None:
            raise RunError(MANIFEST_FILE, "code.assistant", "missing", "module:function that makes the assistant")
        yield _assistant(run, plan, replace(code, make_student=code.make_assistant), teacher, work, team)


def _assistant(run: Run, plan: Plan, code: LoadedCode, teacher: nn.Module, work: Path, team: Team) -> nn.Module:
    schedule, shape = fitting_schedule(run, plan, code, teacher)
    session = begin(plan, code, schedule, shape, teacher)
    weights = work / WEIGHTS
    team.from_leader(lambda: _train_where_missing(session, plan, weights))
    session.student.load_state_dict(torch.load(weights, weights_only=True))
    session.close()
    return session.student.eval().requires_grad_(False)


def _train_where_missing(session: Session, plan: Plan, weights: Path) -> None:
    if weights.is_file():
        return
    train(session, weights.parent, f"assistant {plan.signature}", lambda _epoch, _score: None)
    unfinished = weights.with_suffix(".partial")
    torch.save(session.student.state_dict(), unfinished)
    unfinished.replace(weights)
