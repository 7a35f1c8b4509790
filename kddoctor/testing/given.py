"""What the assertions are given: runs and paths of runs, arrays and tensors."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.errors import UsageError
from kddoctor.run.directory import Run, load
from kddoctor.run.manifest import Manifest, manifest_from

RunOrPath = Run | str | PathLike[str]


def opened(run: RunOrPath) -> Run:
    """The run of a path. Raises RunError, in one line, where it cannot be read."""
    return run if isinstance(run, Run) else load(Path(run))


def as_array(values: Any, name: str) -> NDArray[Any]:
    """An array of what numpy or torch can make one of. Raises UsageError for what is none."""
    if hasattr(values, "detach"):  # a tensor, which may need a gradient or lie on another device
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise UsageError(f"{name} is a {type(values).__name__}; expected an array or tensor of numbers")
    return array


def manifest_of(logits: NDArray[Any], labels: NDArray[Any], **distillation: Any) -> Manifest:
    """The kind of task of logits [N], [N, C] or [N, L, V] and their labels. Raises UsageError for other shapes."""
    if len(logits) != len(labels):
        raise UsageError(f"{len(logits)} rows of logits, but {len(labels)} labels; expected as many")
    shapes = (logits.ndim, labels.ndim)
    tasks = {(1, 1): "binary", (2, 1): "multiclass", (2, 2): "multilabel", (3, 2): "tokens"}
    if shapes not in tasks:
        found = f"logits are {list(logits.shape)} and labels {list(labels.shape)}"
        raise UsageError(f"{found}; expected [N, C] and [N], [N] and [N], [N, C] and [N, C], or [N, L, V] and [N, L]")
    task = tasks[shapes]
    number = {} if task == "binary" else {"num_classes": logits.shape[-1]}
    return manifest_from({"task": task, **number, "distillation": distillation})
