"""Which teacher layer each student layer resembles."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kddoctor.probes.layer_similarity import LayerSimilarity
from kddoctor.report.views.view import Missing, View
from kddoctor.rules.record import RECORD
from kddoctor.run.directory import Run

QUESTION = "Which teacher layer does each student layer resemble?"
Floats = NDArray[np.float64]


def layer_similarity(run: Run, measured: Mapping[type, object]) -> View | Missing:
    """Unbiased linear CKA of every pair of recorded layers, with the monotone path of the most similar pairs.

    frame: teacher_layer, student_layer, cka, standard_error (NaN for one batch), on_path (dynamic time warping over
    1 − CKA), declared (a pair of ``distillation.feature_layers``), suggested (the pair for a hint: the student's middle
    layer with the teacher's layer that it resembles most on the path). measured: from ``measure``.
    """
    found = measured.get(LayerSimilarity)
    if not isinstance(found, LayerSimilarity):
        return Missing("layer_similarity", QUESTION, RECORD["LayerRanks"][1])
    teachers, students = by_depth(found.teacher_layers), by_depth(found.student_layers)
    cka = found.cka[np.ix_(teachers, students)]
    error = np.full(cka.shape, np.nan)
    if found.standard_error is not None:
        error = found.standard_error[np.ix_(teachers, students)]
    path = matched_path(cka)
    hint = _hint(cka, path)
    declared = {tuple(pair) for pair in run.manifest.distillation.feature_layers}
    names = [found.teacher_layers[i] for i in teachers], [found.student_layers[j] for j in students]
    frame = pd.DataFrame(
        [
            {
                "teacher_layer": teacher,
                "student_layer": student,
                "cka": float(cka[i, j]),
                "standard_error": float(error[i, j]),
                "on_path": (i, j) in path,
                "declared": (teacher, student) in declared,
                "suggested": (i, j) == hint,
            }
            for i, teacher in enumerate(names[0])
            for j, student in enumerate(names[1])
        ]
    )
    marks = {"rows": float(found.n)}
    notes = (
        f"Unbiased linear CKA on {found.n:,} rows (Kornblith et al. 2019); layers in the order of their names.",
        "High similarity alone does not prove that a pair works as a hint (Davari et al. 2023).",
    )
    return View("layer_similarity", QUESTION, _answer(frame), _alt(frame), frame, marks, notes)


def by_depth(names: Sequence[str]) -> list[int]:
    """Positions in natural order: block2 before block10."""

    def key(position: int) -> list[tuple[int, int | str]]:
        parts = re.split(r"(\d+)", names[position])
        return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]

    return sorted(range(len(names)), key=key)


def matched_path(cka: Floats) -> set[tuple[int, int]]:
    """Cells [teacher, student] of the monotone path from first to last layers that is the most similar on the whole."""
    cost = 1 - np.clip(cka, 0, 1)
    total = np.full((cka.shape[0] + 1, cka.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(*cka.shape):
        total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j = cka.shape[0] - 1, cka.shape[1] - 1
    path = {(i, j)}
    while (i, j) != (0, 0):
        # Of equals the diagonal, which matches both layers at once.
        steps = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        i, j = min((s for s in steps if min(s) >= 0), key=lambda s: total[s[0] + 1, s[1] + 1])
        path.add((i, j))
    return path


def _hint(cka: Floats, path: set[tuple[int, int]]) -> tuple[int, int]:
    """The student's middle layer (Romero et al. 2015, section 2.2) with its most similar partner on the path."""
    middle = (cka.shape[1] - 1) // 2
    return max((cell for cell in sorted(path) if cell[1] == middle), key=lambda cell: cka[cell])


def _answer(frame: pd.DataFrame) -> str:
    best = frame.iloc[int(frame["cka"].argmax())]
    hint = frame[frame["suggested"]].iloc[0]
    return (
        f"The most alike are {best['teacher_layer']} and {best['student_layer']} (CKA {best['cka']:.2f}); for "
        f"a hint, pair the teacher's {hint['teacher_layer']} with the student's {hint['student_layer']} (CKA "
        f"{hint['cka']:.2f})."
    )


def _alt(frame: pd.DataFrame) -> str:
    rows, columns = frame["teacher_layer"].nunique(), frame["student_layer"].nunique()
    return (
        f"Heat map of the similarity of {rows} teacher layers with {columns} student layers, from "
        f"{frame['cka'].min():.2f} to {frame['cka'].max():.2f}; a path joins the layers that match."
    )
