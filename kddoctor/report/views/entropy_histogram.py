"""How the entropy of the soft targets is spread over the examples, at each temperature of the slider."""

import numpy as np
import pandas as pd

from kddoctor.engine.reading import classes
from kddoctor.report.views.entropy_curve import SAMPLE, entropies
from kddoctor.report.views.target_rows import sampled_targets
from kddoctor.report.views.view import Missing, View
from kddoctor.run.directory import Run

QUESTION = "How many targets are soft?"
#: Every temperature that the slider stops at.
TEMPERATURES = tuple(step / 2 for step in range(1, 65))
BINS = 24


def entropy_histogram(run: Run) -> View | Missing:
    """frame: temperature, low, high (nats, the ends of a bin), targets (how many lie in it). marks: targets, largest
    (the largest possible entropy, nats).
    """
    found = sampled_targets(run, SAMPLE)
    if found is None:
        needs = "record the teacher's logits in predictions/train.safetensors (train_data=… of kddoctor.record)"
        return Missing("entropy_histogram", QUESTION, needs)
    largest = float(np.log(classes(run.manifest)))
    edges = np.linspace(0.0, largest, BINS + 1)
    tables = []
    for temperature, entropy in zip(TEMPERATURES, entropies(found.logits, list(TEMPERATURES)), strict=True):
        counts, _ = np.histogram(np.clip(entropy, 0.0, largest), edges)
        tables.append(
            pd.DataFrame({"temperature": temperature, "low": edges[:-1], "high": edges[1:], "targets": counts})
        )
    frame = pd.concat(tables, ignore_index=True)
    marks = {"targets": float(len(found.logits)), "largest": largest}
    answer = f"{len(found.logits):,} targets by their entropy, from 0 to {largest:.2f} nats, the most possible."
    return View("entropy_histogram", QUESTION, answer, f"Histogram. {answer}", frame, marks)
