"""The retraining of a treatment, recorded like any other run, with a teacher that was checked to be the run's own."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from kddoctor.errors import RunError, UsageError
from kddoctor.probes.proportions import standard_error
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.manifest import MANIFEST_FILE, code_directory
from kddoctor.run.recorder import Recorder, record
from kddoctor.treatment.assisting import teacher_of
from kddoctor.treatment.checkpointed import Trained, train
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.fitting import fitting_schedule
from kddoctor.treatment.own_order import fitted_to_teacher
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.schedule import Schedule, schedule_of
from kddoctor.treatment.scoring import accuracy_of
from kddoctor.treatment.session import Session, begin, declared_loss, held_out, planned_teacher, taught
from kddoctor.treatment.team import ALONE, Team
from kddoctor.treatment.training import Progress, choices

#: Directories of a run that hold records, not code.
RECORDED = ("predictions", "features", "inputs", "fingerprints", "checkpoints", "__pycache__")
#: Standard errors by which the loaded teacher may be worse than the recorded one.
SAME_TEACHER = 4.0


def retrain(
    run: Run, plan: Plan, code: LoadedCode, output: Path, work: Path, *, progress: Progress, team: Team = ALONE
) -> tuple[Trained, Schedule]:
    """Train the corrected student and write ``output`` as an ordinary run directory. work: for its checkpoints.

    team: whose processes all call this; its leader records.
    """
    order = plan.loop.column_permutation
    plan = fitted_to_teacher(plan, code)
    with planned_teacher(code.teacher, plan) as own:
        check_teacher(run, plan, code, own, order)
    with teacher_of(run, plan, code, work / "assistant", team) as teacher:
        found, shape = fitting_schedule(run, plan, code, teacher)
        schedule = team.from_leader(lambda: found)
        session = begin(plan, code, schedule, shape, teacher, team)
        # Left only on success: an interrupted recorder would write an unfinished student's run.
        recording = contextlib.ExitStack()
        recorder = recording.enter_context(_recorder(run, session, output))
        trained = train(
            session,
            work,
            plan.signature,
            lambda epoch, found: progress(epoch, schedule.epochs, found.accuracy),
            recorder,
        )
        recording.close()
        session.close()
    if team.leads and not (output / MANIFEST_FILE).exists():
        raise UsageError(f"{output}: the treated run could not be written; its checkpoint is kept in {work}")
    return trained, schedule


def check_teacher(run: Run, plan: Plan, code: LoadedCode, teacher: nn.Module, order: Sequence[int]) -> None:
    """Raises RunError where the teacher that was loaded is worse than the one that the run recorded.

    order: of the recorded classes, as ``LoopSettings.column_permutation``.
    """
    recorded = run.predictions("val")
    if recorded is None or recorded.teacher_logits is None or run.manifest.task == "ranking":
        return
    labels, right, count = torch.from_numpy(recorded.labels.read()), 0, 0
    for chunk in recorded.teacher_logits.chunks():
        rows, labels = labels[: len(chunk)], labels[len(chunk) :]
        answers = choices(torch.tensor(chunk), rows)
        hits = rows == (torch.tensor(np.argsort(order))[answers] if order else answers)
        right, count = right + int(hits[rows != IGNORED].sum()), count + int((rows != IGNORED).sum())
    was = right / max(1, count)
    schedule = schedule_of(plan.manifest.training)
    found = accuracy_of(lambda inputs: taught(code, teacher, inputs), lambda: held_out(plan, code, schedule))
    if was - found > SAME_TEACHER * standard_error(was, max(1, count)):
        raise RunError(
            MANIFEST_FILE,
            "code.teacher",
            f"a teacher that is right on {found:.1%} of code.val_data",
            f"the {was:.1%} that the run recorded",
            "are checkpoints/teacher.safetensors, code.val_data and code.teacher_transform those of the run?",
        )


def _recorder(run: Run, session: Session, output: Path) -> Recorder:
    plan, code, schedule = session.plan, session.code, session.schedule
    meant = plan.manifest.distillation
    return record(
        output,
        teacher=session.teacher,
        student=session.student,
        optimizer=session.optimizer,
        train_data=DataLoader(code.train_data, schedule.batch_size),
        val_data=DataLoader(code.val_data, schedule.batch_size),
        temperature=meant.temperature,
        alpha=meant.alpha,
        loss=declared_loss(plan, code),
        temperature_squared=meant.temperature_squared,
        task=plan.manifest.task,
        num_classes=plan.manifest.num_classes,
        class_names=plan.manifest.class_names,
        training=vars(schedule),
        targets=plan.manifest.targets.model_dump(exclude_none=True),
        teacher_transform=code.teacher_transform,
        code=None if run.manifest.code is None else run.manifest.code.model_dump(exclude_none=True),
        code_files=_code_files(run),
        layers=_layers(plan),
        checkpoint_seconds=None,  # an unfinished student is no treated run
        save_checkpoints=True,
    )


def _layers(plan: Plan) -> dict[str, list[str]] | None:
    pairs = plan.manifest.distillation.feature_layers
    return {"teacher": [a for a, _ in pairs], "student": [b for _, b in pairs]} if pairs else None


def _code_files(run: Run) -> dict[str, str]:
    """The run's own Python files, so that the treated run can be treated again."""
    if run.manifest.code is None:
        return {}
    folder = code_directory(run.path, run.manifest.code)
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(run.path.resolve())
        if path.is_file() and name.parts[0] not in RECORDED and ":" not in str(name):
            with contextlib.suppress(UnicodeDecodeError, OSError):
                found[name.as_posix()] = path.read_text(encoding="utf-8")
    return found
