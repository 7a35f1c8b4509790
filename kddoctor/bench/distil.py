"""One distillation of a task by a recipe, recorded with kddoctor's own recorder, as a user's script would be."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, Schedule, TeacherRecipe
from kddoctor.bench.rows import class_rows
from kddoctor.bench.session import Batch, Session, batches
from kddoctor.bench.states import States, key_of
from kddoctor.bench.task import Task
from kddoctor.run.recorder import Recorder, record

#: How a retraining finds models and data of a task.
CODE = {
    "path": ".",
    "teacher": "script:make_teacher",
    "student": "script:make_student",
    "train_data": "script:train_data",
    "val_data": "script:val_data",
}
SCRIPT = """from kddoctor.bench.tasks import {task}

make_teacher = {task}.TASK.make_teacher


def make_student():
    return {task}.TASK.make_student({width!r})


def train_data():
    return {task}.TASK.data().train


def val_data():
    return {task}.TASK.data().val
"""
#: Rows on which the epoch's progress is logged.
LOGGED_ROWS = 1000


@dataclass(frozen=True)
class Distilled:
    """seconds: of the training alone."""

    path: Path
    seconds: float


def distil(
    run_dir: Path,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    states: States,
    baseline: bool = True,
    code: bool = False,
) -> Distilled:
    """Train by the recipe and record the run into ``run_dir``.

    The same seed gives every recipe of a task the same teacher, first weights and order of batches. baseline: also
    train the same student on the labels alone and record its outputs. states: where trained teachers are kept. code:
    also keep what a retraining needs.
    """
    torch.manual_seed(seed + 86028121)  # what no checkpoint fills is the same in every process, too
    teacher = task.make_teacher()
    key = key_of("teacher", task, recipe.teacher, seed)
    recipe.load_teacher(teacher, states.take(key, lambda: _teacher(task, recipe.teacher, seed)))
    alone = labels_only(task, recipe, seed, states) if baseline else None
    session = _session(task, recipe, teacher, seed)
    recipe.before(session)
    optimizer = _optimizer(recipe, session)
    started = time.perf_counter()
    with _recorder(run_dir, task, recipe, session, optimizer, alone, seed, code) as recorder:
        _train(task, recipe, session, optimizer, recorder)
        recipe.after(session)
    return Distilled(run_dir, time.perf_counter() - started)


def labels_only(task: Task, recipe: Recipe, seed: int, states: States) -> nn.Module:
    """The same student, data, batches and schedule, without a teacher."""
    plain = replace(
        task.recipe,
        alpha=0.0,
        **{name: getattr(recipe, name) for name in BASELINE_FIELDS},
    )
    state = states.take(key_of("labels-only", task, plain, seed), lambda: _alone(task, plain, seed))
    student = _student(task, plain, seed)
    student.load_state_dict(state)
    return student.eval()


#: What the labels-only twin shares with the run that it is the twin of.
BASELINE_FIELDS = (
    "epochs",
    "batch_size",
    "optimizer",
    "learning_rate",
    "momentum",
    "weight_decay",
    "schedule",
    "clip",
    "width",
    "make_student",
    "change_student",
    "split",
    "train_set",
    "augment",
)


# The loop -------------------------------------------------------------------------------------------------


def _train(task: Task, recipe: Recipe, session: Session, optimizer: Optimizer, recorder: Recorder | None) -> None:
    per_epoch = len(session.train) // min(recipe.batch_size, len(session.train))
    scheduler = LambdaLR(optimizer, _Factor(recipe.schedule, max(1, recipe.epochs * per_epoch)))
    for batch in _batches(task, recipe, session):
        if batch.number == 0:
            recipe.before_epoch(session)
        _step(recipe, session, batch, optimizer, recorder)
        scheduler.step()
        if recorder is not None and batch.number == per_epoch - 1:
            recorder.log(split="val", epoch=batch.epoch, step=batch.step, student_accuracy=_accuracy(session))


def _step(recipe: Recipe, session: Session, batch: Batch, optimizer: Optimizer, recorder: Recorder | None) -> None:
    if recorder is None:
        logits = session.student(batch.inputs)
        loss = recipe.ce_loss(*recipe.rows(logits, batch.labels))
        _descend(recipe, session, loss, optimizer)
        return
    teacher_logits = recipe.targets(session, batch)
    student_logits = recipe.answers(session, batch)
    student, labels = recipe.rows(student_logits, batch.labels)
    teacher, _ = recipe.rows(teacher_logits, batch.labels)
    kd = recipe.kd_loss(student, teacher, recipe.temperature)
    ce = recipe.ce_loss(student, labels)
    loss = recipe.mix(ce, kd, recipe.alpha)
    hint = None if recipe.hint is None else recipe.hint(session, batch)
    if hint is not None:
        loss = loss + recipe.hint_weight * hint
    recorder.step(
        loss=loss,
        kd_loss=kd,
        ce_loss=ce,
        feature_loss=hint,
        student_logits=student_logits,
        teacher_logits=teacher_logits,
        labels=batch.labels,
        epoch=batch.epoch,
        step=batch.step,
    )
    _descend(recipe, session, loss, optimizer)


def _descend(recipe: Recipe, session: Session, loss: Tensor, optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(session.student.parameters(), recipe.clip)
    optimizer.step()


def _batches(task: Task, recipe: Recipe, session: Session) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(session.seed)
    inputs, labels = session.train.tensors
    step = 0
    for epoch in range(recipe.epochs):
        for number, rows in enumerate(batches(len(inputs), recipe.batch_size, generator)):
            raw = inputs[rows]
            seen = raw if task.augment is None else task.augment(raw)
            yield Batch(recipe.augment(seen), raw, labels[rows], rows, number, epoch, step)
            step += 1


@dataclass(frozen=True)
class _Factor:
    """Factor on the learning rate at a step."""

    schedule: Schedule
    steps: int

    def __call__(self, step: int) -> float:
        done = min(1.0, step / self.steps)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "warm-restarts":
            return 0.5 * (1 + math.cos(math.pi * ((3 * done) % 1.0)))
        if self.schedule == "step":
            return 0.1 ** int(done * 3 // 1)
        return 1.0


# Models ---------------------------------------------------------------------------------------------------


def _session(task: Task, recipe: Recipe, teacher: nn.Module, seed: int) -> Session:
    data = recipe.split(task.data())
    student = _student(task, recipe, seed, teacher)
    session = Session(
        teacher=teacher,
        student=student,
        train=recipe.train_set(data.train),
        val=recipe.val_set(data.val),
        batch_size=recipe.batch_size,
        seed=seed,
    )
    torch.manual_seed(seed + 1)
    return session


def _student(task: Task, recipe: Recipe, seed: int, teacher: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(seed)
    if recipe.make_student is not None:
        return recipe.change_student(recipe.make_student(task.make_teacher() if teacher is None else teacher))
    return recipe.change_student(task.make_student(recipe.width))


def _optimizer(recipe: Recipe, session: Session) -> Optimizer:
    parameters = list(recipe.parameters(session))
    if recipe.optimizer == "sgd":
        return SGD(parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)


def _teacher(task: Task, meant: TeacherRecipe, seed: int) -> dict[str, Tensor]:
    data = meant.data(task.data().teacher)
    if meant.examples is not None:
        data = TensorDataset(*(tensor[: meant.examples] for tensor in data.tensors))
    torch.manual_seed(seed + 104729)
    teacher = task.make_teacher()
    plain = replace(
        task.recipe,
        epochs=meant.epochs,
        batch_size=meant.batch_size,
        learning_rate=meant.learning_rate,
        weight_decay=meant.weight_decay,
        optimizer="adam",
        schedule="cosine",
        ce_loss=meant.loss
        or (lambda logits, labels: nn.functional.cross_entropy(logits, labels, label_smoothing=meant.label_smoothing)),
    )
    return _fit(task, plain, Session(teacher, teacher, data, data, meant.batch_size, seed))


def _alone(task: Task, plain: Recipe, seed: int) -> dict[str, Tensor]:
    student = _student(task, plain, seed)
    data = plain.split(task.data())
    session = Session(student, student, plain.train_set(data.train), data.val, plain.batch_size, seed)
    torch.manual_seed(seed + 1)
    return _fit(task, plain, session)


def _fit(task: Task, plain: Recipe, session: Session) -> dict[str, Tensor]:
    session.student.train()
    _train(task, plain, session, _optimizer(plain, session), None)
    return session.student.state_dict()


# The record -----------------------------------------------------------------------------------------------


def _recorder(
    run_dir: Path,
    task: Task,
    recipe: Recipe,
    session: Session,
    optimizer: Optimizer,
    alone: nn.Module | None,
    seed: int,
    code: bool,
) -> Recorder:
    return record(
        run_dir,
        teacher=session.teacher,
        student=session.student,
        optimizer=optimizer,
        train_data=session.train,
        val_data=session.val,
        temperature=recipe.temperature,
        alpha=recipe.alpha,
        loss=recipe.loss,
        temperature_squared=recipe.temperature_squared,
        task=task.kind,
        num_classes=task.classes,
        layers=_layers(task, session),
        row_ids=task.row_ids,
        baseline=alone,
        training={
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "optimizer": recipe.optimizer,
            "learning_rate": recipe.learning_rate,
            "seed": seed,
        },
        targets=recipe.wanted,
        max_steps=24,
        max_examples=1000,
        feature_examples=256,
        save_inputs=True,
        code=CODE if code else None,
        code_files={"script.py": SCRIPT.format(task=task.name, width=recipe.width)} if code else None,
        save_checkpoints=code,
    )


def _layers(task: Task, session: Session) -> dict[str, list[str]]:
    """The task's layers, as far as both models still are what the task made."""
    models = {"teacher": session.teacher, "student": session.student}
    found = {
        role: [name for name in names if name in dict(models[role].named_modules())]
        for role, names in task.layers.items()
    }
    return found if all(found.values()) else {}


@torch.no_grad()
def _accuracy(session: Session) -> float:
    student, training = session.student, session.student.training
    student.eval()
    inputs, labels = (tensor[:LOGGED_ROWS] for tensor in session.val.tensors)
    rows, truth = class_rows(student(inputs), labels)
    student.train(training)
    return float((rows.argmax(1) == truth).double().mean())
