"""Closed forms in float64, written the slow and obvious way, for the probes to be held against."""

import numpy as np
from scipy.special import log_softmax

Array = np.ndarray


def entropies(logits: Array, temperature: float) -> Array:
    log_p = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return -(np.exp(log_p) * log_p).sum(axis=1)


def kl(first: Array, second: Array, temperature: float) -> Array:
    log_p = log_softmax(np.asarray(first, dtype=np.float64) / temperature, axis=1)
    log_q = log_softmax(np.asarray(second, dtype=np.float64) / temperature, axis=1)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def unbiased_hsic(k: Array, l: Array) -> float:  # noqa: E741
    """Song et al. 2012, eq. 5, with every sum written out."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    return float(
        np.trace(k @ l)
        + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (ones @ k @ l @ ones)
    ) / (n * (n - 3))


def cka(teacher: list[Array], student: list[Array], batches: list[slice]) -> Array:
    """Ratio of unbiased HSICs summed over batches, weighted by their rows."""

    def summed(x: Array, y: Array) -> float:
        total = 0.0
        for rows in batches:
            a, b = (np.asarray(f[rows], dtype=np.float64).reshape(len(f[rows]), -1) for f in (x, y))
            # The estimator does not depend on a shift; without this, float64 would lose digits, too.
            a, b = a - a.mean(axis=0), b - b.mean(axis=0)
            total += len(a) * unbiased_hsic(a @ a.T, b @ b.T)
        return total

    return np.array([[summed(x, y) / np.sqrt(summed(x, x) * summed(y, y)) for y in student] for x in teacher])
