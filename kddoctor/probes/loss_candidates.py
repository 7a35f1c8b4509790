"""The values of every form of the grammar on every recorded step, as tables for the fits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_forms import Axis, LossForm, Transform
from kddoctor.probes.loss_sums import JSD_BETAS, PairSums

Array = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One way to look at the logits: transforms of both sides, softmax axis, which positions count."""

    teacher: Transform = "logits"
    student: Transform = "logits"
    axis: Axis = "class"
    masked: bool = True


@dataclass(frozen=True)
class Candidates:
    """forms: F. values, noise: [F, steps], see ``loss_fit.fit_constants``."""

    forms: tuple[LossForm, ...]
    values: Array
    noise: Array

    def __add__(self, other: "Candidates") -> "Candidates":
        return Candidates(
            self.forms + other.forms,
            np.concatenate([self.values, other.values]),
            np.concatenate([self.noise, other.noise]),
        )


def candidates_of(view: View, steps: Sequence[PairSums], temperatures: Sequence[float]) -> Candidates:
    """All families at all (pairs of) temperatures for one view; ``steps`` holds one PairSums a step."""
    sums = {name: np.stack([getattr(step, name) for step in steps]) for name in PairSums.__dataclass_fields__}
    forms: list[LossForm] = []
    values: list[Array] = []
    noise: list[Array] = []
    for form, value, size in _rows(view, sums, temperatures):
        forms.append(form)
        values.append(value)
        noise.append(size)
    return Candidates(tuple(forms), np.stack(values), np.stack(noise))


def _rows(
    view: View, sums: Mapping[str, Array], temperatures: Sequence[float]
) -> Iterator[tuple[LossForm, Array, Array]]:
    def form(family: str, teacher: float, student: float, beta: float = 0.5) -> LossForm:
        return LossForm(
            family,  # type: ignore[arg-type]
            teacher,
            student,
            view.teacher,
            view.student,
            view.axis,
            beta,
            view.masked,
        )

    for i, a in enumerate(temperatures):
        for j, b in enumerate(temperatures):
            soft = sums["s_log_z"][:, j] - sums["t_cross"][:, i] / b
            yield form("kl", a, b), sums["t_entropy"][:, i] + soft, soft
            yield form("soft-cross-entropy", a, b), soft, soft
            back = sums["t_log_z"][:, i] - sums["s_cross"][:, j] / a
            yield form("reverse-kl", a, b), sums["s_entropy"][:, j] + back, back
            yield form("reverse-cross-entropy", a, b), back, back
    for i, a in enumerate(temperatures):
        zero = np.zeros_like(sums["overlap"][:, i])
        missing = sums["t_entropy"][:, i] - sums["overlap"][:, i]
        yield form("kl-input-not-log", a, a), missing, np.abs(missing)
        missing = sums["s_entropy"][:, i] - sums["overlap"][:, i]
        yield form("reverse-kl-input-not-log", a, a), missing, np.abs(missing)
        yield form("kl-target-not-log", a, a), sums["log_target"][:, i], zero
        yield form("mse-probabilities", a, a), sums["square"][:, i], zero
        if view.axis == "class":
            for k, beta in enumerate(JSD_BETAS):
                yield form("jsd", a, a, beta), sums["jsd"][:, k, i], -sums["t_entropy"][:, i]
    yield form("mse", 1.0, 1.0), sums["logit_square"], np.zeros_like(sums["logit_square"])
