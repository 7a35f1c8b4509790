"""The retraining loop: a sound distillation of the run's own models and data, checkpointed after every epoch."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from kddoctor.errors import RunError, UsageError
from kddoctor.probes.proportions import standard_error
from kddoctor.run.directory import Run
from kddoctor.run.labels import IGNORED
from kddoctor.run.manifest import MANIFEST_FILE, code_directory
from kddoctor.run.recorder import Recorder, record
from kddoctor.run.recording.outputs import logits_of
from kddoctor.treatment.checkpoint import Checkpoint, Stateful
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.losses import distillation_loss
from kddoctor.treatment.prescription import Plan
from kddoctor.treatment.rate_probe import lower_rate
from kddoctor.treatment.schedule import Schedule, constant, make_optimizer, make_scheduler, recorded_shape, schedule_of
from kddoctor.treatment.training import (
    Progress,
    answer,
    batches,
    choices,
    seed_epoch,
    seed_everything,
    shuffled_loader,
    transformed,
    users_code,
)

#: Directories of a run that hold records, not code.
RECORDED = ("predictions", "features", "inputs", "fingerprints", "checkpoints", "__pycache__")
#: Standard errors by which the loaded teacher may be worse than the recorded one.
SAME_TEACHER = 4.0


def reorder_columns(teacher: nn.Module, columns: tuple[int, ...]) -> None:
    """Put the teacher's classes into the order of the labels, for every later call.

    A hook and no wrapper, so that the teacher's state dict stays what its own code expects.
    """
    order = torch.tensor(columns)
    teacher.register_forward_hook(lambda _module, _inputs, out: logits_of(out).index_select(-1, order))


def retrain(run: Run, plan: Plan, code: LoadedCode, output: Path, work: Path, *, progress: Progress) -> Schedule:
    """Train the corrected student and write ``output`` as an ordinary run directory. Returns how it was trained.

    work: holds a checkpoint after every epoch. Where one is there already it goes on from it, with the same result,
    bit for bit, as without the interruption.
    """
    schedule = schedule_of(plan.manifest.training)
    teacher = code.teacher.eval().requires_grad_(False)
    if plan.loop.column_permutation:
        reorder_columns(teacher, plan.loop.column_permutation)
    _check_teacher(run, plan, code, schedule, teacher)
    shape = recorded_shape(run)
    if plan.loop.probe_rate:
        rate = lower_rate(schedule, lambda tried, steps: _try_out(plan, code, tried, teacher, steps))
        schedule, shape = replace(schedule, learning_rate=rate), constant
    seed_everything(schedule.seed)
    student = code.make_student()
    with users_code("student", "a module with parameters to train"):
        optimizer = make_optimizer(schedule, student)
    with users_code("train_data", "a dataset of (input, label) with a length"):
        steps = schedule.epochs * len(shuffled_loader(code.train_data, schedule.batch_size))
    scheduler = make_scheduler(optimizer, shape, steps)
    recorder = _recorder(run, plan, code, output, teacher, student, optimizer, schedule)
    parts: dict[str, Stateful] = {
        "student": student,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "recorder": recorder,
    }
    checkpoint = Checkpoint(work, plan.signature, parts)
    # Left only on success: an interrupted recorder would write an unfinished student's run.
    recording = contextlib.ExitStack()
    recording.enter_context(recorder)
    for epoch in range(checkpoint.restore(), schedule.epochs):
        _one_epoch(plan, code, schedule, epoch, teacher, student, optimizer, scheduler, recorder)
        accuracy, agreement = _evaluate(plan, code, schedule, teacher, student)
        recorder.log(split="val", epoch=epoch, student_accuracy=accuracy, agreement=agreement)
        checkpoint.save(epoch + 1)
        progress(epoch + 1, schedule.epochs, accuracy)
    recording.close()
    if not (output / MANIFEST_FILE).exists():
        raise UsageError(f"{output}: the treated run could not be written; its checkpoint is kept in {work}")
    return schedule


def _check_teacher(run: Run, plan: Plan, code: LoadedCode, schedule: Schedule, teacher: nn.Module) -> None:
    """Raises RunError where the teacher that was loaded is worse than the one that the run recorded."""
    recorded = run.predictions("val")
    if recorded is None or recorded.teacher_logits is None or run.manifest.task == "ranking":
        return
    order = plan.loop.column_permutation
    labels, right, count = torch.from_numpy(recorded.labels.read()), 0, 0
    for chunk in recorded.teacher_logits.chunks():
        rows, labels = labels[: len(chunk)], labels[len(chunk) :]
        answers = choices(torch.tensor(chunk), rows)
        hits = rows == (torch.tensor(np.argsort(order))[answers] if order else answers)
        right, count = right + int(hits[rows != IGNORED].sum()), count + int((rows != IGNORED).sum())
    was = right / max(1, count)
    found = _teacher_accuracy(plan, code, schedule, teacher)
    if was - found > SAME_TEACHER * standard_error(was, max(1, count)):
        raise RunError(
            MANIFEST_FILE,
            "code.teacher",
            f"a teacher that is right on {found:.1%} of code.val_data",
            f"the {was:.1%} that the run recorded",
            "are checkpoints/teacher.safetensors, code.val_data and code.teacher_transform those of the run?",
        )


def _try_out(plan: Plan, code: LoadedCode, schedule: Schedule, teacher: nn.Module, steps: int) -> list[float]:
    """The losses of a fresh student's first steps."""
    seed_everything(schedule.seed)
    student = code.make_student().train()
    optimizer = make_optimizer(schedule, student)
    losses: list[float] = []
    while len(losses) < steps:
        for inputs, labels in _shuffled(plan, code, schedule):
            loss = _step(plan, code, teacher, student, optimizer, inputs, labels).total
            losses.append(float(loss))
            if len(losses) == steps:
                break
    return losses


def _recorder(
    run: Run,
    plan: Plan,
    code: LoadedCode,
    output: Path,
    teacher: nn.Module,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
) -> Recorder:
    meant = plan.manifest.distillation
    own = _own_loss(plan, code)
    return record(
        output,
        teacher=teacher,
        student=student,
        optimizer=optimizer,
        train_data=DataLoader(code.train_data, schedule.batch_size),
        val_data=DataLoader(code.val_data, schedule.batch_size),
        temperature=meant.temperature,
        alpha=meant.alpha,
        loss=(meant.loss or "kl") if own else _loss_name(plan),
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


def _loss_name(plan: Plan) -> str:
    declared = plan.manifest.distillation.loss
    return declared if declared in ("kl", "reverse-kl", "jsd", "mse") else "kl"


def _one_epoch(
    plan: Plan,
    code: LoadedCode,
    schedule: Schedule,
    epoch: int,
    teacher: nn.Module,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    recorder: Recorder,
) -> None:
    seed_epoch(schedule.seed, epoch)
    student.train()
    for inputs, labels in _shuffled(plan, code, schedule):
        done = _step(plan, code, teacher, student, optimizer, inputs, labels)
        scheduler.step()
        recorder.step(
            loss=done.total,
            student_logits=done.student_logits,
            teacher_logits=done.teacher_logits,
            labels=labels,
            epoch=epoch,
            kd_loss=done.terms.get("kd_loss"),
            ce_loss=done.terms.get("ce_loss"),
        )


class _Step(NamedTuple):
    total: Tensor
    terms: dict[str, Tensor]
    student_logits: Tensor
    teacher_logits: Tensor


def _step(
    plan: Plan,
    code: LoadedCode,
    teacher: nn.Module,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Any,
    labels: Tensor,
) -> _Step:
    with torch.no_grad():
        teacher_logits = answer("teacher", teacher, transformed(code.teacher_transform, inputs))
    student_logits = answer("student", student, inputs)
    with users_code("loss" if _own_loss(plan, code) else "student", "a loss of the student's logits and the labels"):
        total, terms = _loss(plan, code, student_logits, teacher_logits, labels)
        if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad or total.is_complex():
            raise TypeError("the loss is no real scalar tensor with a gradient")
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    if plan.loop.clip_gradients:
        nn.utils.clip_grad_norm_(student.parameters(), plan.loop.clip_gradients)
    optimizer.step()
    return _Step(total.detach(), terms, student_logits, teacher_logits)


def _own_loss(plan: Plan, code: LoadedCode) -> bool:
    return code.loss is not None and plan.loop.own_loss


def _shuffled(plan: Plan, code: LoadedCode, schedule: Schedule) -> Iterator[tuple[Any, Tensor]]:
    return batches(plan.manifest, "train_data", lambda: shuffled_loader(code.train_data, schedule.batch_size))


def _held_out(plan: Plan, code: LoadedCode, schedule: Schedule) -> Iterator[tuple[Any, Tensor]]:
    return batches(plan.manifest, "val_data", lambda: DataLoader(code.val_data, schedule.batch_size))


def _loss(plan: Plan, code: LoadedCode, s: Tensor, t: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    if code.loss is not None and plan.loop.own_loss:
        return code.loss(s, t, labels), {}
    meant = plan.manifest.distillation
    total, kd, ce = distillation_loss(
        s,
        t,
        labels,
        loss=_loss_name(plan),
        temperature=meant.temperature or 1.0,
        alpha=0.5 if meant.alpha is None else meant.alpha,
        temperature_squared=meant.temperature_squared,
        task=plan.manifest.task,
    )
    return total, {"kd_loss": kd, "ce_loss": ce}


@torch.no_grad()
def _teacher_accuracy(plan: Plan, code: LoadedCode, schedule: Schedule, teacher: nn.Module) -> float:
    right = count = 0
    for inputs, labels in _held_out(plan, code, schedule):
        counts = labels != IGNORED
        answers = choices(answer("teacher", teacher, transformed(code.teacher_transform, inputs)), labels)
        right += int((answers == labels)[counts].sum())
        count += int(counts.sum())
    return right / max(1, count)


@torch.no_grad()
def _evaluate(
    plan: Plan, code: LoadedCode, schedule: Schedule, teacher: nn.Module, student: nn.Module
) -> tuple[float, float]:
    """(accuracy, agreement with the teacher) on held-out rows; of signs for yes-or-no tasks."""
    student.eval()
    right = same = count = 0
    for inputs, labels in _held_out(plan, code, schedule):
        answers = [
            answer("student", student, inputs),
            answer("teacher", teacher, transformed(code.teacher_transform, inputs)),
        ]
        s, t = (choices(z, labels) for z in answers)
        counts = labels != IGNORED
        right += int((s == labels)[counts].sum())
        same += int((s == t)[counts].sum())
        count += int(counts.sum())
    return right / max(1, count), same / max(1, count)
