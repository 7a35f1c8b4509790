"""One distillation, written as a user's script is: train a teacher, distil a student, record it with kddoctor."""

from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from kddoctor.demo import recipe
from kddoctor.demo.faults import Fault, Loop, seeded
from kddoctor.run.recorder import record

TEACHER_EPOCHS = 25
CODE = {
    "path": ".",
    "teacher": "recipe:make_teacher",
    "student": "recipe:make_student",
    "train_data": "recipe:train_data",
    "val_data": "recipe:val_data",
}


def distil(run_dir: Path | str, fault: Fault, *, seed: int = 0, baseline: bool = True) -> Path:
    """Train (or take) the teacher, run the loop with its fault, and record it into ``run_dir``.

    baseline: also train the same student without a teacher, and record its logits. The same seed gives every fault
    and its healthy twin the same teacher, initial student and batches.
    """
    loop = fault.loop
    train, val = recipe.train_data(), recipe.val_data()
    teacher = trained_teacher(seed, loop.teacher_examples)
    if not loop.teacher_loaded:
        seeded(seed + 1)
        teacher = recipe.make_teacher()
    alone = labels_only_student(seed, loop) if baseline else None
    seeded(seed)
    student = recipe.make_student(loop.hidden or recipe.HIDDEN)
    optimizer = _optimizer(loop, student)
    loader = DataLoader(train, loop.batch_size, shuffle=True, drop_last=True)
    outputs = _cache(teacher, loader, seed)
    teacher.train(loop.teacher_mode == "train")
    seeded(seed)
    with record(
        run_dir,
        teacher=teacher,
        student=student,
        optimizer=optimizer,
        train_data=loader,
        val_data=DataLoader(val, 256),
        temperature=loop.temperature,
        alpha=loop.alpha,
        loss=loop.declared_loss,
        baseline=alone,
        training={
            "epochs": loop.epochs,
            "batch_size": loop.batch_size,
            "optimizer": loop.optimizer,
            "learning_rate": loop.learning_rate,
            "seed": seed,
        },
        code=CODE,
        code_files={"recipe.py": resources.files(recipe.__package__).joinpath("recipe.py").read_text("utf-8")},
        save_checkpoints=True,
    ) as run:
        for epoch in range(loop.epochs):
            for number, (inputs, labels) in enumerate(loader):
                with torch.no_grad():
                    teacher_logits = loop.targets(teacher, outputs, number, inputs)
                student_logits = student(inputs)
                kd = loop.kd_loss(student_logits, teacher_logits, loop.temperature)
                ce = F.cross_entropy(student_logits, labels)
                loss = loop.mix(ce, kd, loop.alpha)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                run.step(
                    loss=loss,
                    kd_loss=kd,
                    ce_loss=ce,
                    student_logits=student_logits,
                    teacher_logits=teacher_logits,
                    labels=labels,
                    epoch=epoch,
                )
            run.log(split="val", epoch=epoch, student_accuracy=accuracy(student, val))
    return Path(run_dir)


@cache
def _teacher_state(seed: int, examples: int | None) -> dict[str, Tensor]:
    seeded(seed)
    teacher = recipe.make_teacher()
    train = recipe.teacher_data()
    data: Dataset[tuple[Tensor, ...]] = train if examples is None else Subset(train, range(examples))
    _train_on_labels(teacher, torch.optim.Adam(teacher.parameters(), 2e-3), data, TEACHER_EPOCHS, 64)
    return teacher.state_dict()


def trained_teacher(seed: int, examples: int | None = None) -> nn.Module:
    """A fresh copy of the teacher of this seed, in evaluation mode. examples: how many it was shown (all: None)."""
    teacher = recipe.make_teacher()
    teacher.load_state_dict({name: value.clone() for name, value in _teacher_state(seed, examples).items()})
    return teacher.eval()


def labels_only_student(seed: int, loop: Loop) -> nn.Module:
    """The same student, batches and schedule, without a teacher."""
    seeded(seed)
    student = recipe.make_student(loop.hidden or recipe.HIDDEN)
    _train_on_labels(student, _optimizer(loop, student), recipe.train_data(), loop.epochs, loop.batch_size)
    return student.eval()


def _train_on_labels(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Dataset[tuple[Tensor, ...]],
    epochs: int,
    batch_size: int,
) -> None:
    model.train()
    for _ in range(epochs):
        for inputs, labels in DataLoader(data, batch_size, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _optimizer(loop: Loop, student: nn.Module) -> torch.optim.Optimizer:
    if loop.optimizer == "sgd":
        return torch.optim.SGD(student.parameters(), loop.learning_rate, momentum=0.9)
    return torch.optim.Adam(student.parameters(), loop.learning_rate)


@torch.no_grad()
def _cache(teacher: nn.Module, loader: DataLoader[tuple[Tensor, ...]], seed: int) -> list[Tensor]:
    """The teacher's outputs, batch by batch in the order of one pass over the (shuffling) loader."""
    seeded(seed + 2)
    teacher.eval()
    return [teacher(inputs) for inputs, _ in loader]


@torch.no_grad()
def accuracy(model: nn.Module, data: Dataset[tuple[Tensor, ...]]) -> float:
    """Share of rows whose largest logit is at the label; the model's mode is restored."""
    training = model.training
    model.eval()
    right = count = 0
    for inputs, labels in DataLoader(data, 512):
        right += int((model(inputs).argmax(1) == labels).sum())
        count += len(labels)
    model.train(training)
    return right / count
