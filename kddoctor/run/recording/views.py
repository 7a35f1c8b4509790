"""How much random augmentation moves the answers of both models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from kddoctor.run.recording.batches import Source
from kddoctor.run.recording.calling import Transform, forward
from kddoctor.run.recording.outputs import copied, tensors_in
from kddoctor.run.recording.row_hash import row_hashes

ROWS, DRAWS = 64, 4


def augmented_views(
    models: Mapping[str, nn.Module], source: Source, transform: Transform | None
) -> dict[str, Any] | None:
    """The first training examples drawn several times: does the data augment at random, and what do the models say?

    random: whether an example looks different each time. Then, of each model: ``<model>_agreement``, the mean share of
    two views of one example that get the same choice, and ``<model>_divergence``, the mean KL(mean of the views'
    probabilities ‖ view) in nats. None where there is no example. Call it inside ``undisturbed``.
    """
    draws = [next(source.batches(ROWS), None) for _ in range(DRAWS)]
    batches = [batch for batch in draws if batch is not None]
    if len(batches) < DRAWS:
        return None
    seen = [row_hashes(next(tensors_in(batch.inputs))).cpu() for batch in batches]
    rows = min(map(len, seen))
    different = torch.stack([hashes[:rows] for hashes in seen]).ne(seen[0][:rows]).any(0)
    facts: dict[str, Any] = {"random": bool(different.any()), "rows": rows, "draws": DRAWS}
    if not facts["random"]:
        return facts
    for name, model in models.items():
        given = [b.inputs if name != "teacher" or transform is None else transform(b.inputs) for b in batches]
        facts |= _spread(name, [copied(forward(model, inputs))[:rows] for inputs in given])
    return facts


def _spread(name: str, logits: list[Tensor]) -> dict[str, float]:
    if any(each.ndim != 2 or each.shape[1] < 2 or each.shape != logits[0].shape for each in logits):
        return {}
    views = torch.stack(logits).double()
    choices = views.argmax(-1).numpy()
    pairs = [(a, b) for a in range(len(choices)) for b in range(a)]
    log_p = log_softmax(views, -1)
    mean = log_p.exp().mean(0)
    divergence = (torch.special.xlogy(mean, mean) - mean * log_p).sum(-1).mean()
    return {
        f"{name}_agreement": float(np.mean([(choices[a] == choices[b]).mean() for a, b in pairs])),
        f"{name}_divergence": float(divergence),
    }
