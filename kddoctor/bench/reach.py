"""What a retraining of a sick run could reach at best."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix
from torch import Tensor

from kddoctor.bench.case import Case
from kddoctor.bench.distil import distil, labels_only
from kddoctor.bench.gate import ONE_POINT
from kddoctor.bench.own_code import OwnCode
from kddoctor.bench.recording import Cache, metric_on
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Task, find_task
from kddoctor.errors import RunError
from kddoctor.probes.class_matching import best_matching, matched_accuracy
from kddoctor.run import load
from kddoctor.treatment.code_loading import loaded_code

Rows = tuple[Tensor, ...]


def recoverable(case: Case, healthy: float, run: Path, cache: Cache) -> float:
    """The metric that a retraining with the same models could reach: that of the healthy twin, on the run's own rows.

    The twin of a run whose teacher or student is another one is out of reach of any loop, whether it was made as
    another one or had its weights changed before the run. There it is what the labels alone give the same student.
    healthy: the twin's metric. run: as it was recorded, with its code.
    """
    task, recipe = find_task(case.task), case.recipe
    rows = OwnCode(case).val_data().tensors
    with TemporaryDirectory() as folder:
        twin = Path(folder) / "twin"
        distil(twin, task, task.recipe, seed=case.seed, states=cache.states(), baseline=False, code=True)
        if not all(torch.equal(*pair) for pair in zip(rows, task.data().val.tensors, strict=True)):
            healthy = _on(rows, twin, task)
        same_teacher = recipe.teacher == task.recipe.teacher and not _knows_less(case, run, twin)
    if same_teacher and recipe.width == task.recipe.width and recipe.make_student is None:
        return healthy
    alone = labels_only(task, recipe, case.seed, cache.states())
    with torch.no_grad():
        return min(healthy, metric_on(alone(rows[0]), rows[1]))


def _on(rows: Rows, twin: Path, task: Task) -> float:
    """The twin's metric on other rows than its own: a wrong label there is wrong for any student."""
    student = task.make_student(task.recipe.width)
    student.load_state_dict(load_file(twin / "checkpoints" / "student.safetensors"))
    with torch.no_grad():
        return metric_on(student.eval()(rows[0]), rows[1])


def _knows_less(case: Case, run: Path, twin: Path) -> bool:
    """Whether the teacher that a retraining finds does, by a point or more; one that cannot be loaded is not blamed."""
    try:
        return _known(case, twin) - _known(case, run) >= ONE_POINT
    except RunError:
        return False


def _known(case: Case, run: Path) -> float:
    """What the teacher that a retraining finds knows: accuracy, or area under the ROC curve, on the task's own rows.

    With the order of its classes that suits best: to put them in another order is within reach of a loop.
    """
    inputs, labels = find_task(case.task).data().val.tensors
    with loaded_code(load(run)) as code, torch.no_grad():
        logits = code.teacher.eval()(inputs)
    if logits.ndim == 1:
        found = metric_on(logits, labels)
        return max(found, 1 - found)
    counts, answers = labels != IGNORED, logits.argmax(-1)
    table = confusion_matrix(answers[counts], labels[counts], labels=np.arange(logits.shape[-1]))
    return matched_accuracy(table, best_matching(table))
