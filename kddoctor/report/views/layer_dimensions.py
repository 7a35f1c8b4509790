"""How many dimensions each recorded layer uses, and how much of the labels can be read off it."""

from collections.abc import Mapping

import pandas as pd

from kddoctor.probes.layer_ranks import LayerRanks
from kddoctor.report.views.view import Missing, View
from kddoctor.rules.record import RECORD

QUESTION = "How much does each layer hold?"


def layer_dimensions(measured: Mapping[type, object]) -> View | Missing:
    """frame: model, layer, units (that vary), effective (dimensions in use), read_out (accuracy of a linear read-out,
    NaN where none was fitted), of every recorded layer and of the logits. measured: from ``measure``.
    """
    found = measured.get(LayerRanks)
    if not isinstance(found, LayerRanks):
        return Missing("layer_dimensions", QUESTION, RECORD["LayerRanks"][1])
    layers = {
        "teacher": {**found.teacher, "logits": found.teacher_logits},
        "student": {**found.student, "logits": found.student_logits},
    }
    frame = pd.DataFrame(
        [
            {
                "model": model,
                "layer": layer,
                "units": rank.units,
                "effective": rank.effective,
                "read_out": float("nan") if rank.accuracy is None else rank.accuracy,
            }
            for model, ranks in layers.items()
            for layer, rank in ranks.items()
        ]
    )
    widest = frame.loc[frame.groupby("model", sort=False)["effective"].idxmax()]
    said = " and ".join(
        f"the {row['model']}'s {row['layer']} with {row['effective']:.1f} effective dimensions"
        for _, row in widest.iterrows()
    )
    notes = (
        "Effective dimensions: exp of the entropy of the singular values (Roy & Vetterli 2007).",
        "Read-out: accuracy of a linear classifier on the layer, fitted on every other row and judged on the rest.",
    )
    return View(
        "layer_dimensions", QUESTION, f"The widest are {said}.", f"Table of {len(frame)} layers.", frame, {}, notes
    )
