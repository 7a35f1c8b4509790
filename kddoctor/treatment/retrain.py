"""The retraining loop: a sound distillation of the run's own models and data, checkpointed after every epoch."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kddoctor.errors import UsageError
from kddoctor.run.directory import Run
from kddoctor.run.manifest import code_directory
from kddoctor.run.recorder import Recorder, record
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.losses import distillation_loss
from kddoctor.treatment.prescription import Plan

DEFAULT_EPOCHS, DEFAULT_BATCH, DEFAULT_RATE = 20, 64, 1e-3
#: epoch finished, epochs in all, accuracy on held-out rows
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Schedule:
    """The training section with every gap filled."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    seed: int


def schedule_of(plan: Plan) -> Schedule:
    """The plan's training section; where a key is missing, an ordinary value."""
    t = plan.manifest.training
    return Schedule(
        epochs=t.epochs or DEFAULT_EPOCHS,
        batch_size=t.batch_size or DEFAULT_BATCH,
        optimizer=(t.optimizer or "adam").lower(),
        learning_rate=t.learning_rate or DEFAULT_RATE,
        seed=t.seed or 0,
    )


def reorder_columns(teacher: nn.Module, columns: tuple[int, ...]) -> None:
    """Put the teacher's classes into the order of the labels, for every later call.

    A hook and no wrapper, so that the teacher's state dict stays what its own code expects.
    """
    order = torch.tensor(columns)
    teacher.register_forward_hook(lambda _module, _inputs, out: logits_of(out).index_select(-1, order))


def logits_of(output: Any) -> Tensor:
    """The logits in a model's output: a tensor, the first of a tuple, or the entry ``logits``."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        return output["logits"]  # type: ignore[no-any-return]
    found = getattr(output, "logits", None)
    return found if isinstance(found, Tensor) else output[0]


def retrain(run: Run, plan: Plan, code: LoadedCode, output: Path, *, resume: bool, progress: Progress) -> None:
    """Train the corrected student and write ``output`` as an ordinary run directory.

    A checkpoint after every epoch lies beside ``output`` until it is complete; ``resume`` goes on from there, with
    the same result, bit for bit, as without the interruption.
    """
    schedule = schedule_of(plan)
    work = _work_directory(output)
    if work.exists() and not resume:
        raise UsageError(f"{output}: an interrupted treatment lies in {work}; add --resume, or delete that directory")
    torch.manual_seed(schedule.seed)
    student = code.make_student()
    teacher = code.teacher.eval().requires_grad_(False)
    if plan.loop.column_permutation:
        reorder_columns(teacher, plan.loop.column_permutation)
    optimizer = _optimizer(schedule, student)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.epochs)
    recorder = _recorder(run, plan, code, output, teacher, student, optimizer, schedule)
    work.mkdir(parents=True, exist_ok=True)
    # Left only on success: an interrupted recorder would write an unfinished student's run.
    recording = contextlib.ExitStack()
    recording.enter_context(recorder)
    started = _restore(work, student, optimizer, decay, recorder) if resume else 0
    for epoch in range(started, schedule.epochs):
        _one_epoch(plan, code, schedule, epoch, teacher, student, optimizer, recorder)
        decay.step()
        accuracy, agreement = _evaluate(code, schedule, teacher, student)
        recorder.log(split="val", epoch=epoch, student_accuracy=accuracy, agreement=agreement)
        _save(work, epoch + 1, student, optimizer, decay, recorder)
        progress(epoch + 1, schedule.epochs, accuracy)
    recording.close()
    if not output.exists():
        raise UsageError(f"{output}: the treated run could not be written; its checkpoint is kept in {work}")
    for leftover in work.iterdir():
        leftover.unlink()
    work.rmdir()


def _work_directory(output: Path) -> Path:
    return output.with_name(f".{output.name}.treating")


def _optimizer(schedule: Schedule, student: nn.Module) -> torch.optim.Optimizer:
    parameters, rate = student.parameters(), schedule.learning_rate
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=0.9)
    return torch.optim.AdamW(parameters, rate) if schedule.optimizer == "adamw" else torch.optim.Adam(parameters, rate)


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
    own = code.loss is not None and plan.loop.own_loss
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
    files = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    return {str(path.relative_to(run.path.resolve())): path.read_text(encoding="utf-8") for path in files}


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
    recorder: Recorder,
) -> None:
    # The order depends on seed and epoch alone, so that a resumed epoch sees the batches that it would have seen.
    order = torch.Generator().manual_seed(schedule.seed * 1_000_003 + epoch)
    loader = DataLoader(code.train_data, schedule.batch_size, shuffle=True, generator=order)
    student.train()
    for inputs, labels in loader:
        with torch.no_grad():
            seen = code.teacher_transform(inputs) if code.teacher_transform else inputs
            teacher_logits = logits_of(teacher(seen))
        student_logits = logits_of(student(inputs))
        total, terms = _loss(plan, code, student_logits, teacher_logits, labels)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        if plan.loop.clip_gradients:
            nn.utils.clip_grad_norm_(student.parameters(), plan.loop.clip_gradients)
        optimizer.step()
        recorder.step(
            loss=total,
            student_logits=student_logits,
            teacher_logits=teacher_logits,
            labels=labels,
            epoch=epoch,
            kd_loss=terms.get("kd_loss"),
            ce_loss=terms.get("ce_loss"),
        )


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
def _evaluate(code: LoadedCode, schedule: Schedule, teacher: nn.Module, student: nn.Module) -> tuple[float, float]:
    """(accuracy, agreement with the teacher) on held-out rows; of signs for yes-or-no tasks."""
    student.eval()
    right = same = count = 0
    for inputs, labels in DataLoader(code.val_data, schedule.batch_size):
        seen = code.teacher_transform(inputs) if code.teacher_transform else inputs
        answers = [logits_of(model(x)) for model, x in ((student, inputs), (teacher, seen))]
        s, t = ((z > 0).long() if z.shape == labels.shape else z.argmax(-1) for z in answers)
        counts = labels != -100
        right += int((s == labels)[counts].sum())
        same += int((s == t)[counts].sum())
        count += int(counts.sum())
    return right / max(1, count), same / max(1, count)


# Checkpoints ---------------------------------------------------------------------------------------------


def _save(work: Path, epoch: int, student: nn.Module, optimizer: Any, decay: Any, recorder: Recorder) -> None:
    """One file, replaced atomically: after a crash it is the old or the new one."""
    state = {
        "epoch": epoch,
        "student": student.state_dict(),
        "optimizer": optimizer.state_dict(),
        "decay": decay.state_dict(),
        "random": torch.random.get_rng_state(),
        "recorder": recorder.state_dict(),
    }
    partial = work / "checkpoint.partial"
    with partial.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(work / "checkpoint.pt")


def _restore(work: Path, student: nn.Module, optimizer: Any, decay: Any, recorder: Recorder) -> int:
    path = work / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    optimizer.load_state_dict(state["optimizer"])
    decay.load_state_dict(state["decay"])
    recorder.load_state_dict(state["recorder"])
    torch.random.set_rng_state(state["random"])
    return int(state["epoch"])
