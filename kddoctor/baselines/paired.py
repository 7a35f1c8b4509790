"""Is a run worse than others on the same examples, by more than another seed makes it?

Runs of one recipe differ by their seeds in two ways. Single examples flip, each for itself: what McNemar's test counts.
And whole runs turn out better or worse: many examples move together, so that the means differ by more than independent
flips would make them. ``inflation`` is the ratio of the two variances, var(mean) · n / mean of var(example), and would
be 1 if examples flipped independently. McNemar's test between two seeds takes it to be 1; it is 1 to 4 for sound
recipes, and beyond that for recipes that sometimes fail.

Several runs measure it; with few of them, or one, what was measured on other tasks stands in, as a prior with so many
degrees of freedom (moderated t, Smyth 2004).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, t

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeedNoise:
    """Inflation of the variance of a figure's mean between seeds, and how many degrees of freedom that is worth."""

    inflation: float
    freedom: float

    def after(self, runs: Floats) -> "SeedNoise":
        """What is believed after some runs [m, n] were seen, of one recipe and on the same examples."""
        m, n = runs.shape
        if m < 2:
            return self
        flips = float(runs.var(axis=0, ddof=1).mean()) / n
        if flips == 0:
            return self
        measured = float(runs.mean(axis=1).var(ddof=1)) / flips
        freedom = self.freedom + m - 1
        return SeedNoise((self.freedom * self.inflation + (m - 1) * measured) / freedom, freedom)


@dataclass(frozen=True)
class Paired:
    """drop: by how much worse, positive. error: its standard error between seeds, with ``freedom``. p: one-sided
    probability of such a drop by another seed.
    """

    drop: float
    error: float
    freedom: float
    p: float

    def detectable(self, level: float, power: float) -> float:
        """The smallest drop that a test at this level finds with this probability."""
        return self.error * float(t.isf(level, self.freedom) + t.ppf(power, self.freedom))


def paired_test(before: Floats, after: Floats, worse: int, noise: SeedNoise) -> Paired:
    """before: [m, n] values of m runs; after: [n] of another, same examples. worse: 1 where more is worse, else -1.

    noise: what is believed of this figure before any of these runs.
    """
    m, n = before.shape
    differences = worse * (after - before.mean(axis=0))
    drop = float(differences.mean()) + 0.0
    known = noise.after(before)
    # How much examples flip is seen between the earlier runs or, where there is one only, between it and the later one.
    flips = float(before.var(axis=0, ddof=1).mean()) * (1 + 1 / m) if m > 1 else float(differences.var())
    error = math.sqrt(known.inflation * flips / n)
    p = float(t.sf(drop / error, known.freedom)) if error else 1.0 if drop <= 0 else 0.0
    if np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all():
        p = max(p, _flips_alone(before.astype(bool), after.astype(bool), worse))
    return Paired(drop, error, known.freedom, p)


def _flips_alone(before: NDArray[np.bool_], after: NDArray[np.bool_], worse: int) -> float:
    """The exact p where every example flips for itself: given how many of the m + 1 runs have a one, each of them is
    equally likely to be the later run's. With one run before, this is McNemar's exact test.
    """
    runs = len(before) + 1
    ones = before.sum(axis=0) + after
    probabilities = np.ones(1)
    for k in range(1, runs):
        rows = int((ones == k).sum())
        probabilities = np.convolve(probabilities, binom.pmf(np.arange(rows + 1), rows, k / runs))
    seen = int(after[(ones > 0) & (ones < runs)].sum())
    tail = probabilities[seen:] if worse > 0 else probabilities[: seen + 1]
    return min(1.0, float(tail.sum()))
