"""What every form of the grammar needs from one recorded step, in one pass over its logits.

KL at teacher temperature a and student temperature b needs no pass of its own: with p = softmax(z_t / a),
    Σ p log p − Σ p·z_s / b + Σ log Z_s(b)
so three sums per temperature and side give the loss at *every pair* of temperatures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.loss_forms import Transform

Array = NDArray[np.float64]

#: Rows times classes held in float64 at a time (32 MiB per buffer).
BLOCK_ELEMENTS = 4_194_304
JSD_BETAS = (0.5, 0.1, 0.3, 0.7, 0.9)


@dataclass(frozen=True)
class PairSums:
    """Sums over the rows of one step, for one pair of transforms. Every array is [temperatures].

    ``t_entropy`` Σ p_t log p_t, ``t_cross`` Σ p_t·z_s, ``t_log_z`` Σ log Z_t, and mirrored for the student;
    the rest pair both sides at the same temperature.
    """

    t_entropy: Array
    t_cross: Array
    t_log_z: Array
    s_entropy: Array
    s_cross: Array
    s_log_z: Array
    overlap: Array  # Σ p_t·p_s
    square: Array  # Σ (p_t − p_s)²
    log_target: Array  # Σ exp(p_t)·(p_t − log p_s)
    jsd: Array  # [betas, temperatures]
    logit_square: float  # Σ (z_t − z_s)²

    def __add__(self, other: "PairSums") -> "PairSums":
        names = self.__dataclass_fields__
        return PairSums(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class LabelSums:
    """Sums over the labelled rows of one step, for the hard-label term."""

    log_z: float  # Σ log Z_s
    at_label: float  # Σ z_s[y]
    mean_logit: float  # Σ mean over classes of z_s (label smoothing)
    at_teacher_top: float  # Σ z_s[argmax z_t]
    twice_log_z: float  # the same two with softmax(z_s) in the place of z_s
    twice_at_label: float
    gradient_square: float  # Σ ‖softmax(z_s) − onehot(y)‖², the squared logit gradient of the summed loss


def log_softmax(z: Array, axis: int = 1) -> Array:
    """Stable log-softmax in float64."""
    shifted = z - z.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def transformed(z: Array, transform: Transform) -> Array:
    """Logits as the loss may have seen them: [rows, classes] in, the same shape out."""
    if transform == "softmax":
        return np.asarray(np.exp(log_softmax(z)))
    if transform == "log":
        return np.log(np.maximum(z, np.finfo(np.float32).tiny))
    if transform == "standardised":
        # Sun et al. 2024: z-score of each row (population s.d.).
        spread = z.std(axis=1, keepdims=True)
        return np.asarray((z - z.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12))
    return z


def _log_partition(z: Array, temperature: float, axis: int) -> tuple[Array, Array]:
    """(log Z, softmax) of z / T."""
    scaled = z / temperature
    top = scaled.max(axis=axis, keepdims=True)
    exponential = np.exp(scaled - top)
    total = exponential.sum(axis=axis, keepdims=True)
    exponential /= total
    return np.log(total) + top, exponential


def _jensen_shannon(p: Array, q: Array, log_p: Array, log_q: Array, beta: float) -> float:
    # A probability that underflowed contributes 0·log 0 = 0; clipping keeps the logarithm finite.
    log_m = np.log(np.maximum(beta * p + (1 - beta) * q, 1e-300))
    return float(beta * (p * (log_p - log_m)).sum() + (1 - beta) * (q * (log_q - log_m)).sum())


def pair_sums(z_s: Array, z_t: Array, temperatures: Sequence[float], axis: int = 1) -> PairSums:
    """The sums of one block of rows, [rows, classes] each."""
    columns: list[list[float]] = []
    jsd = np.zeros((len(JSD_BETAS), len(temperatures)))
    for index, temperature in enumerate(temperatures):
        log_z_t, p_t = _log_partition(z_t, temperature, axis)
        log_z_s, p_s = _log_partition(z_s, temperature, axis)
        own_t, own_s = float((p_t * z_t).sum()), float((p_s * z_s).sum())
        total_t, total_s = float(log_z_t.sum()), float(log_z_s.sum())
        log_q = z_s / temperature - log_z_s
        columns.append(
            [
                own_t / temperature - total_t,
                float((p_t * z_s).sum()),
                total_t,
                own_s / temperature - total_s,
                float((p_s * z_t).sum()),
                total_s,
                float((p_t * p_s).sum()),
                float(((p_t - p_s) ** 2).sum()),
                float((np.exp(p_t) * (p_t - log_q)).sum()),
            ]
        )
        if axis == 1:
            log_p = z_t / temperature - log_z_t
            jsd[:, index] = [_jensen_shannon(p_t, p_s, log_p, log_q, beta) for beta in JSD_BETAS]
    names = ("t_entropy", "t_cross", "t_log_z", "s_entropy", "s_cross", "s_log_z", "overlap", "square", "log_target")
    table = dict(zip(names, np.array(columns).T, strict=True))
    return PairSums(**table, jsd=jsd, logit_square=float(((z_t - z_s) ** 2).sum()))


def label_sums(z_s: Array, z_t: Array, labels: NDArray[np.int64]) -> LabelSums:
    """Hard-label sums of rows whose label counts; [rows, classes], [rows, classes], [rows]."""
    if not len(labels):
        return LabelSums(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rows = np.arange(len(labels))
    log_p = log_softmax(z_s)
    at_label = float(z_s[rows, labels].sum())
    log_z = at_label - float(log_p[rows, labels].sum())
    p = np.exp(log_p)
    twice_at_label = float(p[rows, labels].sum())
    twice_log_z = twice_at_label - float(log_softmax(p)[rows, labels].sum())
    top = z_t.argmax(axis=1)
    return LabelSums(
        log_z=log_z,
        at_label=at_label,
        mean_logit=float(z_s.mean(axis=1).sum()),
        at_teacher_top=float(z_s[rows, top].sum()),
        twice_log_z=twice_log_z,
        twice_at_label=twice_at_label,
        gradient_square=float((p**2).sum()) - 2 * twice_at_label + len(labels),
    )


def add_labels(a: LabelSums, b: LabelSums) -> LabelSums:
    """Sums of two blocks of rows."""
    return LabelSums(*(getattr(a, name) + getattr(b, name) for name in a.__dataclass_fields__))


def row_blocks(rows: int, classes: int) -> Iterator[slice]:
    """Slices of rows that keep a float64 buffer below ``BLOCK_ELEMENTS``."""
    size = max(1, BLOCK_ELEMENTS // max(1, classes))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
