"""Labels as the contract has them, from labels as loops have them."""

from __future__ import annotations

from torch import Tensor


def class_labels(labels: Tensor, logits: Tensor, task: str) -> dict[str, Tensor]:
    """Class numbers; mixed or one-hot labels are kept beside them, as ``label_probabilities``."""
    if task == "multilabel":
        return {"labels": labels}
    if labels.is_floating_point() and labels.shape == logits.shape and task in ("multiclass", "tokens"):
        return {"labels": labels.argmax(-1), "label_probabilities": labels}
    whole = not labels.is_floating_point() or bool((labels == labels.floor()).all())
    return {"labels": labels.long() if whole else labels}
