"""Do the outputs of both models fit each other, the labels and the declared number of classes?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from kddoctor.errors import RunError
from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.sample import first_batch
from kddoctor.preflight_checks.setting import Setting
from kddoctor.run.labels import allowed_labels
from kddoctor.run.manifest import TASKS_WITH_CLASSES
from kddoctor.run.recording.batches import Batch
from kddoctor.run.recording.labelling import class_labels

NAME = "shapes"


def check_shapes(setting: Setting) -> Check:
    """On the first batch of each split, both models in evaluation mode. Call it inside ``undisturbed``."""
    seen = ""
    for split in setting.sources:
        try:
            batch = first_batch(setting, split)
        except Exception as error:  # the data set is the user's code, and may raise anything
            return Check(NAME, "fail", f"{split} data: reading it raises {_said(error)}", fix="mend the data set")
        if batch is None:
            return Check(NAME, "fail", f"{split} data: gives no batch of (inputs, labels)", fix="mend the data set")
        logits: dict[str, Tensor] = {}
        for role in ("teacher", "student"):
            try:
                logits[role] = _squeezed(setting.logits(role, batch), setting.manifest.task)
            except Exception as error:  # so are the models
                given = "" if role == "student" else "; does it take other inputs (teacher_transform)?"
                return Check(NAME, "fail", f"{split} data: the {role} raises {_said(error)}{given}")
        problem = next(_problems(setting, batch, logits), None)
        if problem is not None:
            return Check(NAME, "fail", f"{split} data: {problem}")
        seen = f"both models give {list(logits['student'].shape)} for {batch.size} rows, labels are {_shape(batch)}"
    return Check(NAME, "ok", seen)


def _problems(setting: Setting, batch: Batch, logits: dict[str, Tensor]) -> Iterator[str]:
    task, classes = setting.manifest.task, setting.manifest.num_classes
    teacher, student = logits["teacher"], logits["student"]
    if teacher.shape != student.shape:
        yield f"the teacher gives {list(teacher.shape)} and the student {list(student.shape)}; they must agree"
    if task in TASKS_WITH_CLASSES and student.ndim < (3 if task == "tokens" else 2):
        yield f"the student gives {list(student.shape)}; task {task} needs a logit for each class"
    if task in TASKS_WITH_CLASSES and classes is not None and student.shape[-1] != classes:
        yield f"the models give {student.shape[-1]} logits but num_classes is {classes}"
    if batch.labels is None:
        yield "a batch has no labels; expected (inputs, labels) or a dict with labels"
        return
    labels = class_labels(batch.labels, student, task)["labels"]
    expected = student.shape[:-1] if task in ("multiclass", "tokens") else student.shape
    if labels.shape != expected and labels.numel() != expected.numel():
        yield f"labels are {list(labels.shape)} and logits {list(student.shape)}; expected labels {list(expected)}"
    try:
        yield from wrong_labels(setting, labels)
    except (TypeError, RuntimeError) as error:
        yield f"labels cannot be read as numbers: {_said(error)}"
    for role, values in logits.items():
        if not torch.isfinite(values).all():
            yield f"the {role} gives NaN or infinite logits"


def wrong_labels(setting: Setting, labels: Tensor) -> Iterator[str]:
    """What is wrong with the first label that the task cannot have."""
    may_be, allowed = allowed_labels(setting.manifest.task, setting.manifest.num_classes)
    bad = labels.cpu()[~torch.as_tensor(may_be(labels.cpu().numpy()))]
    if len(bad):
        yield f"there is the label {bad.flatten()[0].item()}; expected {allowed}"


def _squeezed(logits: Tensor, task: str) -> Tensor:
    one_column = task in ("binary", "ranking") and logits.ndim == 2 and logits.shape[1] == 1
    return logits[:, 0] if one_column else logits


def _shape(batch: Batch) -> str:
    return "missing" if batch.labels is None else str(list(batch.labels.shape))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
