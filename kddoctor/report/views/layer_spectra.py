"""How the variance of each recorded layer is spread over its directions, and how large its activations are."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.engine.measuring.splits import held_out_split
from kddoctor.report.views.layer_similarity import by_depth
from kddoctor.report.views.view import Missing, View
from kddoctor.rules.record import RECORD
from kddoctor.run.arrays import LazyArray
from kddoctor.run.directory import Run

QUESTION = "In how many directions does each layer vary?"
#: Directions that are shown, and rows that are looked at.
TOP, ROWS = 16, 256


def layer_spectra(run: Run) -> View | Missing:
    """Largest eigenvalues of the covariance of every recorded layer.

    frame: model, layer, rank (from 1), share (of the layer's variance), norm (mean length of a row); at most 16 a
    layer. marks: rows, and the largest share of a first direction (first).
    """
    features = run.features(held_out_split(run))
    if features is None:
        return Missing("layer_spectra", QUESTION, RECORD["LayerRanks"][1])
    tables = []
    for model, layers in (("teacher", features.teacher), ("student", features.student)):
        names = list(layers)
        for name in (names[i] for i in by_depth(names)):
            rows = _rows(layers[name])
            shares = _shares(rows)
            if shares is not None:
                norm = float(np.linalg.norm(rows, axis=1).mean())
                ranks = np.arange(1, len(shares) + 1)
                tables.append(
                    pd.DataFrame({"model": model, "layer": name, "rank": ranks, "share": shares, "norm": norm})
                )
    if not tables:
        return Missing("layer_spectra", QUESTION, "record layers whose activations are finite and vary")
    frame = pd.concat(tables, ignore_index=True)
    first = frame[frame["rank"] == 1]
    most = first.iloc[int(first["share"].argmax())]
    marks = {"rows": float(min(ROWS, features.n)), "first": float(most["share"])}
    share = f"{marks['first']:.0%} of its variance"
    answer = f"The {most['model']}'s {most['layer']} varies most in one direction alone: {share}."
    notes = (
        f"Eigenvalues of the covariance over the first {marks['rows']:.0f} rows, the largest {TOP} of each layer.",
    )
    alt = f"Lines of the share of the variance by direction, of {len(tables)} layers. {answer}"
    return View("layer_spectra", QUESTION, answer, alt, frame, marks, notes)


def _rows(array: LazyArray) -> NDArray[np.float64]:
    return np.asarray(array[:ROWS]).reshape(min(ROWS, len(array)), -1).astype(np.float64)


def _shares(rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """[at most 16] descending; None for a layer that is not finite or does not vary."""
    if not np.isfinite(rows).all():
        return None
    centred = rows - rows.mean(axis=0)
    # The smaller of the two products has the same eigenvalues.
    product = centred @ centred.T if len(rows) <= rows.shape[1] else centred.T @ centred
    values = np.clip(np.linalg.eigvalsh(product)[::-1], 0, None)
    total = float(values.sum())
    return values[:TOP] / total if total > 0 else None
