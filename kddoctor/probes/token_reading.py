"""Which token a teacher seems to have read, judged by what it expects to follow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kddoctor.probes.chunks import IGNORED_LABEL

#: How often a token must precede another in each half of the rows.
FEWEST_TIMES = 20
#: Weight in occurrences of the overall frequencies in what follows a token.
PRIOR_COUNTS = 5.0
#: Nats by which one token must explain better than another what is expected to follow.
MARGIN = 0.05


@dataclass(frozen=True)
class TokenReading:
    """What a language model expects after a token x, against what the data show after each token x'.

    tokens: how many were tested: those that one half of the data tells from all others in the other half.
    as_itself: share of their occurrences in which the data after x itself explain the model's expectation at least as
    well as those after any other token, up to ``MARGIN`` nats. as_another: share of the occurrences in which another
    token explains it better by that much, and leaves less than half of the divergence. divergence_itself,
    divergence_best: mean KL(data after x' ‖ model after x) for x' = x and for the best x'. information,
    own_information: mean KL(after x ‖ after any token), of the data and of the model: how much a token says.
    """

    tokens: int
    occurrences: int
    as_itself: float
    as_another: float
    divergence_itself: float
    divergence_best: float
    information: float
    own_information: float
    excess: float
    accuracy: float
    echo: float


@dataclass(frozen=True)
class ReadingInLoop:
    """The same of what the loss took for the teacher's answers, in the recorded steps."""

    reading: TokenReading


class TokenReadingProbe:
    """Accumulates the next-token frequencies, and the model's expectations, after each frequent token.

    num_classes: the vocabulary. Rows at even and at odd places are kept apart: one half says what the data are like,
    the other what the model expects. tokens: [n] those to look at, the most frequent ones for choice; memory is
    n times the vocabulary.
    """

    def __init__(self, num_classes: int, tokens: NDArray[np.integer]) -> None:
        self.num_classes = num_classes
        self.tokens = np.asarray(tokens, np.int64)
        self._place = np.full(num_classes, -1)
        self._place[self.tokens] = np.arange(len(self.tokens))
        self._rows = 0
        self._followed = np.zeros((2, len(self.tokens), num_classes))
        self._expected = np.zeros((2, len(self.tokens), num_classes))
        self._excess = np.zeros(len(self.tokens))
        self._right = np.zeros(3)

    def update(self, logits: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        """Add rows: logits [n, L, V], labels [n, L], -100 where a position does not count."""
        before, after = labels[:, :-1], labels[:, 1:]
        both = (before != IGNORED_LABEL) & (after != IGNORED_LABEL)
        half = np.broadcast_to(((self._rows + np.arange(len(labels))) % 2)[:, None], before.shape)
        self._rows += len(labels)
        z = np.asarray(logits[:, 1:][both], np.float64)
        h, x, y = half[both], before[both], after[both]
        answer = z.argmax(axis=1)
        self._right += (answer == y).sum(), (answer == x).sum(), len(y)
        wanted = self._place[x] >= 0
        z, h, x, y = z[wanted], h[wanted], self._place[x[wanted]], y[wanted]
        if not len(x):
            return
        z -= z.max(axis=1, keepdims=True)
        z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
        p = np.exp(z)
        np.add.at(self._excess, x, np.einsum("ij,ij->i", p, z) - z[np.arange(len(y)), y])
        np.add.at(self._followed, (h, x, y), 1)
        # One sum for each token: adding row by row is slow for large vocabularies.
        key = h * len(self.tokens) + x
        order = np.argsort(key, kind="stable")
        key = key[order]
        starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
        sums = np.add.reduceat(p[order], starts, axis=0)
        self._expected.reshape(-1, self.num_classes)[key[starts]] += sums

    def merge(self, other: "TokenReadingProbe") -> None:
        """Add another worker's rows, as if they came after the rows counted here."""
        flipped = self._rows % 2
        self._followed += other._followed[::-1] if flipped else other._followed
        self._expected += other._expected[::-1] if flipped else other._expected
        self._excess += other._excess
        self._right += other._right
        self._rows += other._rows

    def compute(self) -> TokenReading | None:
        """None where fewer than two tokens can be told apart."""
        times = self._followed.sum(axis=2)
        frequent = np.flatnonzero(times.min(axis=0) >= FEWEST_TIMES)
        if len(frequent) < 2:
            return None
        overall = self._followed.sum(axis=(0, 1)) + 1e-3
        overall /= overall.sum()
        data = self._followed[:, frequent] + PRIOR_COUNTS * overall
        data /= data.sum(axis=2, keepdims=True)
        model = self._expected[:, frequent] + 1e-9
        model /= model.sum(axis=2, keepdims=True)
        at = np.arange(len(frequent))
        # Both halves in both roles. The data themselves have to tell a token, before a model is asked to.
        known = [_divergences(data[1 - h], data[h]) for h in (0, 1)]
        told = np.logical_and.reduce([d.argmin(axis=0) == at for d in known])
        read = (_divergences(data[1], model[0]) + _divergences(data[0], model[1])) / 2
        itself, best = read[at, at], read.min(axis=0)
        worth = np.where(told, times.sum(axis=0)[frequent], 0.0)
        if told.sum() < 2:
            return None
        weight = worth / worth.sum()
        another = (itself > best + MARGIN) & (best < itself / 2) & told
        counted = times.sum(axis=0)[frequent]
        excess = self._excess[frequent][another].sum() / counted[another].sum() if another.any() else float("nan")
        mean = (self._expected.sum(axis=(0, 1)) + 1e-9) / (self._expected.sum() + 1e-9 * self.num_classes)
        whole = data.mean(axis=0)
        return TokenReading(
            tokens=int(told.sum()),
            occurrences=int(worth.sum()),
            as_itself=float(weight @ (itself <= best + MARGIN)),
            as_another=float(weight @ another),
            divergence_itself=float(weight @ itself),
            divergence_best=float(weight @ best),
            information=float(weight @ (whole * np.log(whole / overall)).sum(axis=1)),
            own_information=float(weight @ _information(model.mean(axis=0), mean)),
            excess=float(excess),
            accuracy=float(self._right[0] / self._right[2]),
            echo=float(self._right[1] / self._right[2]),
        )


def _divergences(data: NDArray[np.float64], model: NDArray[np.float64]) -> NDArray[np.float64]:
    """[tokens, tokens] KL(data after x' ‖ model after x), row x', column x."""
    entropy = (data * np.log(data)).sum(axis=1)
    return np.asarray(entropy[:, None] - data @ np.log(model).T)


def _information(model: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((model * np.log(model / mean)).sum(axis=1))
