"""Which kind of distillation loss it is: combinations of known formulas, fitted to what the teacher changes.

Differences of the loss between two teachers hold nothing of the hard-label term, whatever that is, as long as the
two are added. The kind whose components reproduce every difference, up to rounding, is the one that runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from kddoctor.loss_xray import formulas
from kddoctor.loss_xray.batches import Batch, other_teacher
from kddoctor.loss_xray.calling import LossCall

Array = NDArray[np.float64]
Formula = Callable[..., Tensor]
#: Relative residual below which a fit is an identity; worth a finer search; of no use.
IDENTITY, IDENTITY_SINGLE, NEAR = 1e-6, 3e-4, 0.3
TEMPERATURES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
FEW_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
SHARES = (1e-4, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1 - 1e-4)


@dataclass(frozen=True)
class Kind:
    """parts: formulas by name, each of a batch and the knobs. knobs: T (and a share, or the student's own T)."""

    family: str
    text: str
    parts: Mapping[str, Formula]
    knobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class KindFit:
    """factors: what multiplies each part. knobs: their values. error: largest relative residual."""

    kind: Kind
    knobs: Mapping[str, float]
    factors: Mapping[str, float]
    error: float


T, SHARE, OWN = "temperature", "share", "student_temperature"


def _at_one(formula: Formula) -> Formula:
    """The same temperature on both sides."""
    return lambda batch, t: formula(batch, t, t)


_KL, _REVERSE, _SOFT = (_at_one(f) for f in (formulas.kl, formulas.reverse_kl, formulas.soft_cross_entropy))


def _squared(batch: Batch, _t: float) -> Tensor:
    return formulas.squared_error(batch)


LOGIT_KINDS: Sequence[Kind] = (
    Kind("kl", "KL(teacher ‖ student)", {"kl": _KL}, (T,)),
    Kind("reverse-kl", "KL(student ‖ teacher)", {"kl": _REVERSE}, (T,)),
    Kind("soft-cross-entropy", "cross-entropy with the soft targets", {"cross-entropy": _SOFT}, (T,)),
    Kind("mse", "squared error of logits", {"mse": formulas.squared_error}),
    Kind("l1", "absolute error of logits", {"l1": formulas.absolute_error}),
    Kind("smooth-l1", "smooth absolute error of logits", {"smooth-l1": formulas.smooth_absolute_error}),
    Kind("cosine", "cosine distance of logits", {"cosine": formulas.cosine}),
    Kind("normalised-mse", "squared error of logits at unit length", {"mse": formulas.normalised_squared_error}),
    Kind("kl-targets-over-batch", "KL whose targets are a softmax over the batch",
         {"kl": formulas.targets_over_batch}, (T,)),
    Kind("kl-student-over-batch", "KL of a student whose softmax runs over the batch",
         {"kl": formulas.student_over_batch}, (T,)),
    Kind("jeffreys", "forward and reverse KL", {"kl": _KL, "reverse-kl": _REVERSE}, (T,)),
    Kind("kl+mse", "KL(teacher ‖ student) and squared error of logits", {"kl": _KL, "mse": _squared}, (T,)),
    Kind("dkd", "decoupled distillation (DKD)",
         {"target": formulas.target_class_kd, "non-target": formulas.non_target_class_kd}, (T,)),
    Kind("dist", "correlations between and within classes (DIST)",
         {"inter": formulas.inter_class, "intra": formulas.intra_class}, (T,)),
    Kind("jsd", "Jensen-Shannon divergence", {"jsd": formulas.jsd}, (T, SHARE)),
    Kind("skew-kl", "skew KL(teacher ‖ mixture)", {"kl": formulas.skew_kl}, (T, SHARE)),
    Kind("skew-reverse-kl", "skew KL(student ‖ mixture)", {"kl": formulas.skew_reverse_kl}, (T, SHARE)),
    Kind("kl", "KL(teacher ‖ student)", {"kl": formulas.kl}, (T, OWN)),
    Kind("reverse-kl", "KL(student ‖ teacher)", {"kl": formulas.reverse_kl}, (T, OWN)),
    Kind("soft-cross-entropy", "cross-entropy with the soft targets",
         {"cross-entropy": formulas.soft_cross_entropy}, (T, OWN)),
)  # fmt: skip

FEATURE_KINDS: Sequence[Kind] = (
    Kind("hint-mse", "squared error of features (hint)", {"mse": formulas.squared_error}),
    Kind("hint-l1", "absolute error of features", {"l1": formulas.absolute_error}),
    Kind("hint-smooth-l1", "smooth absolute error of features", {"smooth-l1": formulas.smooth_absolute_error}),
    Kind("hint-cosine", "cosine distance of features", {"cosine": formulas.cosine}),
    Kind("hint-cosine", "cosine distance of features, last axis", {"cosine": formulas.cosine_over_channels}),
    Kind("hint-normalised-mse", "squared error of features at unit length",
         {"mse": formulas.normalised_squared_error}),
    Kind("attention-transfer", "attention transfer", {"attention": formulas.attention_transfer}),
    Kind("similarity-preserving", "similarity-preserving distillation", {"gram": formulas.similarity_preserving}),
    Kind("rkd", "relational distillation (RKD)",
         {"distance": formulas.relational_distance, "angle": formulas.relational_angle}),
)  # fmt: skip


def identity(dtype: torch.dtype) -> float:
    """Tolerance of a fit in this precision."""
    return IDENTITY if dtype == torch.float64 else IDENTITY_SINGLE


def recognise(call: LossCall, batches: Sequence[Batch], kinds: Sequence[Kind]) -> KindFit | None:
    """The first kind, simplest first, that reproduces every difference between two teachers."""
    pairs = [(b, other_teacher(b)) for b in batches]
    found = np.array([call.value(a) - call.value(b) for a, b in pairs])
    limit = identity(batches[0].student.dtype)
    if not np.isfinite(found).all() or np.abs(found).max() == 0:
        return None
    exact = [(a.to(torch.float64), b.to(torch.float64)) for a, b in pairs]
    for kind in kinds:
        try:
            fit = _fit(kind, exact, found)
        except (RuntimeError, IndexError, ValueError):  # shapes that the formula does not take
            continue
        if fit.error <= limit:
            return fit
    return None


def _fit(kind: Kind, pairs: Sequence[tuple[Batch, Batch]], found: Array) -> KindFit:
    def tried(knobs: Sequence[float]) -> tuple[float, Array]:
        columns = np.array(
            [[float(part(a, *knobs) - part(b, *knobs)) for part in kind.parts.values()] for a, b in pairs]
        )
        if not np.isfinite(columns).all():
            return float("inf"), np.zeros(columns.shape[1])
        scale = np.maximum(np.abs(columns).max(0), 1e-300)
        factors = np.linalg.lstsq(columns / scale, found, rcond=None)[0] / scale
        return float(np.abs(found - columns @ factors).max() / np.abs(found).max()), factors

    knobs = min(_grid(kind), key=lambda point: tried(point)[0])
    if kind.knobs and identity(torch.float64) / 100 < tried(knobs)[0] < NEAR:
        knobs = _refined(kind, knobs, lambda point: tried(point)[0])
    error, factors = tried(knobs)
    named = dict(zip(kind.parts, map(float, factors), strict=True))
    return KindFit(kind, dict(zip(kind.knobs, knobs, strict=True)), named, error)


def _grid(kind: Kind) -> Sequence[tuple[float, ...]]:
    if not kind.knobs:
        return [()]
    if kind.knobs == (T,):
        return [(t,) for t in TEMPERATURES]
    if kind.knobs == (T, SHARE):
        return [(t, share) for t in FEW_TEMPERATURES for share in SHARES]
    return [(a, b) for a in TEMPERATURES[1::2] for b in TEMPERATURES[1::2]]


def _refined(kind: Kind, start: Sequence[float], error: Callable[[Sequence[float]], float]) -> tuple[float, ...]:
    """A descent from the best point of the grid, on a scale where every knob is free."""
    inward = [_log_odds if name == SHARE else np.log for name in kind.knobs]
    outward = [_share if name == SHARE else np.exp for name in kind.knobs]

    def knobs(point: Any) -> tuple[float, ...]:
        return tuple(float(out(x)) for out, x in zip(outward, point, strict=True))

    first = [float(into(x)) for into, x in zip(inward, start, strict=True)]
    # A temperature moves by less than the grid's step; more would lead to the flat end, where all looks alike.
    simplex = np.vstack([first, np.array(first) + 0.2 * np.eye(len(first))])
    result = minimize(  # type: ignore[call-overload]  # the stubs know no initial_simplex
        lambda point: error(knobs(point)),
        first,
        method="Nelder-Mead",
        options={"xatol": 1e-12, "fatol": 1e-12, "maxiter": 200, "initial_simplex": simplex},
    )
    return knobs(result.x)


def _log_odds(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _share(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))
