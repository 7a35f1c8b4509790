"""steps.safetensors: a sample of training steps, as the loss saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kddoctor.errors import RunError
from kddoctor.run.arrays import ArrayFile, LazyArray
from kddoctor.run.labels import checked_labels
from kddoctor.run.layout import Layout, brackets
from kddoctor.run.manifest import Manifest

#: Scores of a row from which they are a list of candidates.
FEWEST_CANDIDATES = 3
PER_STEP = (
    *("kd_loss", "ce_loss", "feature_loss", "kd_grad_norm", "ce_grad_norm", "loss_grad_norm"),
    *("kd_grad_weight", "ce_grad_weight", "grad_weight_residual", "expected_grad_norm", "grad_norm", "jumped"),
)
KNOWN = {
    "student_logits",
    "teacher_logits",
    "teacher_logits_check",
    "labels",
    "loss",
    "step",
    "mask",
    *PER_STEP,
}


@dataclass(frozen=True)
class Steps:
    """K sampled training steps of B examples each; logits raw, before any temperature.

    student_logits, teacher_logits and teacher_logits_check [K, B, C] (tokens [K, B, L, V]), labels [K, B],
    mask [K, B, L]. Everything else is [K]: float64 and possibly NaN, step int64. weighted_terms: kd_loss
    and ce_loss already carry their weights. *_grad_norm: of the gradient in the student's logits; *_grad_weight: how
    much of each term's gradient the total's holds there, up to grad_weight_residual (relative). expected_grad_norm,
    grad_norm: of the gradient in the student's parameters, as the loss has it and as the optimizer got it. jumped: 1
    for steps kept because their loss jumped, beside those that are spread evenly. extra: arrays that kddoctor does not
    know.
    """

    file: str
    count: int
    student_logits: LazyArray
    teacher_logits: LazyArray
    labels: LazyArray
    loss: NDArray[np.float64]
    step: NDArray[np.int64]
    kd_loss: NDArray[np.float64] | None
    ce_loss: NDArray[np.float64] | None
    feature_loss: NDArray[np.float64] | None
    kd_grad_norm: NDArray[np.float64] | None
    ce_grad_norm: NDArray[np.float64] | None
    loss_grad_norm: NDArray[np.float64] | None
    kd_grad_weight: NDArray[np.float64] | None
    ce_grad_weight: NDArray[np.float64] | None
    grad_weight_residual: NDArray[np.float64] | None
    expected_grad_norm: NDArray[np.float64] | None
    grad_norm: NDArray[np.float64] | None
    jumped: NDArray[np.float64] | None
    teacher_logits_check: LazyArray | None
    mask: LazyArray | None
    weighted_terms: bool
    extra: dict[str, LazyArray]


def lists_of_a_ranking(file: ArrayFile, manifest: Manifest) -> str | None:
    """A warning where a ranking's steps hold a list of candidates for each row, [K, B, n], which nothing here reads.

    Two columns are no list, but one score written twice, and refused as such.
    """
    if manifest.task != "ranking" or "student_logits" not in file:
        return None
    shape = file["student_logits"].shape
    if len(shape) != 3 or shape[-1] < FEWEST_CANDIDATES:
        return None
    return (
        f"{file.label}: student_logits is {brackets(shape)}, lists of {shape[-1]} candidates: a ranking's loss is only "
        "checked where steps hold one score for each row, [K, B]; the steps are left out."
    )


def read_steps(file: ArrayFile, manifest: Manifest) -> Steps:
    """Check a steps file against the manifest, and read what is one number a step.

    Raises RunError where an array is missing, wrongly shaped or typed, empty, or holds impossible labels.
    """
    for needed in ("student_logits", "teacher_logits", "labels", "loss"):
        file[needed]  # names the array that is missing, and those that are there
    layout = Layout(manifest, file.label, rows=("K", "B"))
    student, teacher = layout.fit_logits(file["student_logits"]), layout.fit_logits(file["teacher_logits"])
    labels = layout.fit(file["labels"], layout.labels)
    check = layout.fit_logits(file["teacher_logits_check"]) if "teacher_logits_check" in file else None
    mask = layout.fit(file["mask"], layout.positions) if "mask" in file else None
    layout.check_classes()
    terms: dict[str, Any] = {
        name: _per_step(layout, file[name], np.float64) if name in file else None for name in PER_STEP
    }
    count = layout.length("K")
    return Steps(
        file=file.label,
        count=count,
        student_logits=student,
        teacher_logits=teacher,
        labels=checked_labels(labels, manifest.task, manifest.num_classes, unlabelled=True),
        loss=_per_step(layout, file["loss"], np.float64),
        step=_per_step(layout, file["step"], np.int64) if "step" in file else np.arange(count),
        teacher_logits_check=check,
        mask=mask,
        weighted_terms=file.metadata.get("weighted_terms") == "1",
        extra={name: file[name] for name in file if name not in KNOWN},
        **terms,
    )


def _per_step(layout: Layout, array: LazyArray, dtype: type[Any]) -> NDArray[Any]:
    if dtype is np.int64 and array.is_float:
        raise RunError(layout.file, array.name, f"of dtype {array.dtype}", "integers")
    if array.ndim != 1:
        raise RunError(
            layout.file,
            array.name,
            f"of {array.ndim} axes",
            f"one number for each of {layout.length('K')} steps",
        )
    return layout.fit(array, ("K",)).read().astype(dtype)
