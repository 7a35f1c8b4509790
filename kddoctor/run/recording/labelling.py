"""Labels as the contract has them, from labels as loops have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from kddoctor.run.labels import IGNORED


def class_labels(labels: Tensor, logits: Tensor, task: str) -> dict[str, Tensor]:
    """Class numbers; mixed or one-hot labels are kept beside them, as ``label_probabilities``."""
    if task == "multilabel":
        return {"labels": labels}
    if labels.is_floating_point() and labels.shape == logits.shape and task in ("multiclass", "tokens"):
        return {"labels": labels.argmax(-1), "label_probabilities": labels}
    whole = not labels.is_floating_point() or bool((labels == labels.floor()).all())
    return {"labels": labels.long() if whole else labels}


def next_token_labels(inputs: Any, labels: Tensor) -> Tensor:
    """Labels that line up with the logits.

    Language model data gives the input itself as labels, and the model shifts them: the logits at a
    position are about the next token.
    """
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    if ids is None or ids.shape != labels.shape:
        return labels
    if not bool(((ids.to(labels.device) == labels) | (labels == IGNORED)).all()):
        return labels
    return pad(labels[:, 1:], (0, 1), value=IGNORED)
