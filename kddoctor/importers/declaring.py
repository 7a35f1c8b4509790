"""kd_run.yaml of an imported run: what the user says, what the arrays show, what the source's settings say."""

from __future__ import annotations

from typing import Any

from kddoctor.importers.found import Given, Settings
from kddoctor.importers.logits import Splits
from kddoctor.importers.setting_names import known
from kddoctor.importers.tasks import classes_of, task_of
from kddoctor.run.manifest import TASKS_WITH_CLASSES


def declared(meant: Settings, splits: Splits, given: Given, left: list[str]) -> dict[str, Any]:
    """The manifest as plain values. Of contradictions the user is right, then the arrays; lines about them, and about
    what nobody says, are added to ``left``.
    """
    some = next(iter(splits.values()), None)
    task = given.task or (task_of(some) if some else meant.task)
    if task is None:
        task = "multiclass"
        left.append("the task: multiclass is assumed (--task)")
    classes = given.num_classes or (classes_of(task, some) if some else meant.num_classes)
    if classes is None and task in TASKS_WITH_CLASSES:
        left.append("the number of classes (--num-classes)")
    elif meant.num_classes is not None and meant.num_classes != classes:
        left.append(f"num_classes is {meant.num_classes} in the settings; {classes} is right for the logits")
    names = given.class_names or (meant.class_names if len(meant.class_names or ()) == classes else None)
    said = {"loss": given.loss, "temperature": given.temperature, "alpha": given.alpha}
    distillation = {**meant.distillation, **known(said)}
    unknown = [f"--{key}" for key in said if key not in distillation]
    if unknown and distillation.get("loss") not in ("none", "custom"):
        left.append(f"what the loss was meant to be: say it with {', '.join(unknown)}")
    values = {
        "task": task,
        "num_classes": classes,
        "class_names": list(names) if names else None,
        "distillation": distillation or None,
        "training": dict(meant.training) or None,
    }
    return known(values)
