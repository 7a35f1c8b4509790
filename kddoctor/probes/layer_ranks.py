"""How many dimensions each layer uses, and how much of the labels can be read off it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

#: Singular values below this share of the largest are zero: what float32 leaves of exact linear dependence.
ZERO = 1e-5
#: Times that by which the smallest other one has to exceed it.
CLEAR = 100.0
#: Rows and units of a layer that are looked at.
MOST_ROWS, MOST_UNITS = 2048, 1024
#: Penalty of the linear read-out, in units of the mean squared feature.
RIDGE = 1e-2
#: Rows near by that answers are compared with.
NEIGHBOURS = 5
#: Classes beyond which no read-out is fitted.
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Rank:
    """One layer. units: that vary at all. rank: singular values above rounding.

    exact: the smallest of these is a hundred times larger, so that the others are zero and not merely small. effective:
    exp of the entropy of the singular values (Roy & Vetterli 2007). distinct: different rows, up to rounding.
    accuracy: of a ridge regression onto the labels, fitted on every other row and judged on the rest; None where there
    is nothing to fit. width: all units, silent ones included. copies: share of the units that vary by more than
    rounding leaves of the largest value, whose values on every row are those of another unit.
    """

    units: int
    rank: int
    exact: bool
    effective: float
    distinct: int
    accuracy: float | None
    width: int = 0
    copies: float = 0.0


@dataclass(frozen=True)
class LayerRanks:
    """Every recorded layer of both models, and their logits.

    teacher, student: by name. logits: of each model. kept: kept[r] is the share of rows whose top class survives when
    the teacher's centred logits are replaced by their best approximation of rank r (Eckart & Young 1936), r from 0.
    rows: examples. maps: the student's layers of which every place has these units, so that their number is not what
    the layer can carry. carried: of the narrowest of its other layers, and of its logits themselves, the share of the
    variance of the student's logits that rows near by in that layer explain.
    """

    teacher: Mapping[str, Rank]
    student: Mapping[str, Rank]
    teacher_logits: Rank
    student_logits: Rank
    kept: NDArray[np.float64]
    rows: int
    maps: frozenset[str] = frozenset()
    carried: tuple[float, float] | None = None

    @property
    def narrowest(self) -> str | None:
        """The student's layer with the fewest units, those aside that have them at several places each."""
        flat = {name: rank.width for name, rank in self.student.items() if name not in self.maps and rank.width}
        return min(flat, key=lambda name: flat[name], default=None)

    def surviving(self, dimensions: float) -> float:
        """Share of the teacher's answers that survives in so many dimensions."""
        return float(self.kept[min(int(dimensions), len(self.kept) - 1)])


def explained_by_neighbours(features: Floats, answers: Floats) -> float:
    """Share of the variance of answers [n, C] that the nearest other rows by features [n, d] explain, 0 to 1.

    All of it, but for the distance between rows, where the answers are made from these features alone.
    """
    from sklearn.neighbors import NearestNeighbors

    x, z = (block[:MOST_ROWS].astype(np.float64) for block in (features, answers))
    total = float(((z - z.mean(axis=0)) ** 2).sum())
    if len(x) <= NEIGHBOURS or total == 0:
        return 0.0
    scaled = x / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    near = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(scaled).kneighbors(scaled, return_distance=False)
    # A row is among its own nearest, unless copies of it stand before it.
    others = np.array([row[row != own][:NEIGHBOURS] for own, row in enumerate(near)])
    return max(0.0, 1 - float(((z - z[others].mean(axis=1)) ** 2).sum()) / total)


def rank_of(features: Floats, labels: NDArray[np.int64] | None = None) -> Rank:
    """[n, d] features; labels [n] of the same rows, -100 where there is none. Linear in n; d is thinned to 1,024."""
    x = features[:MOST_ROWS].astype(np.float64)
    y = None if labels is None else labels[:MOST_ROWS]
    live = np.flatnonzero(x.std(axis=0) > 0)
    if not len(live):
        return Rank(0, 0, False, 0.0, 1, None, features.shape[1])
    if len(live) > MOST_UNITS:
        live = live[np.linspace(0, len(live) - 1, MOST_UNITS).round().astype(int)]
    x = x[:, live]
    centred = x - x.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    share = singular / singular.sum()
    share = share[share > 0]
    counted = singular[singular > ZERO * singular[0]]
    return Rank(
        units=len(live),
        rank=len(counted),
        exact=bool(counted[-1] > CLEAR * ZERO * singular[0]),
        effective=float(np.exp(-(share * np.log(share)).sum())),
        distinct=len(np.unique(_rounded(x), axis=0)),
        accuracy=None if y is None else read_out(x, y),
        width=features.shape[1],
        copies=_copies(x),
    )


def _rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.round(x / np.abs(x).max(), 5))


def _copies(x: NDArray[np.float64]) -> float:
    """Share of the columns [n, d] that equal another one; beside one of huge values small ones cannot be compared."""
    rounded = _rounded(x)
    compared = rounded[:, np.ptp(rounded, axis=0) > 0]
    if not compared.shape[1]:
        return 0.0
    _, number, counts = np.unique(compared, axis=1, return_inverse=True, return_counts=True)
    return float((counts[number.reshape(-1)] > 1).mean())


def read_out(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """Accuracy of a linear read-out on rows that it was not fitted on; None where that makes no sense."""
    counted = labels >= 0
    x, y = features[counted], labels[counted]
    if len(y) < 4 * max(2, len(np.unique(y))) or len(np.unique(y)) < 2 or y.max() >= MOST_CLASSES:
        return None
    mean, deviation = x[::2].mean(axis=0), x[::2].std(axis=0)
    x = np.column_stack([(x - mean) / np.where(deviation > 0, deviation, 1.0), np.ones(len(x))])
    fitted, truth = x[::2], np.eye(int(y.max()) + 1)[y[::2]]
    gram = fitted.T @ fitted + RIDGE * len(fitted) * np.eye(x.shape[1])
    return float(((x[1::2] @ np.linalg.solve(gram, fitted.T @ truth)).argmax(axis=1) == y[1::2]).mean())


def kept_by_rank(logits: Floats) -> NDArray[np.float64]:
    """[min(n, C) + 1] share of rows whose top class survives an approximation of each rank, from the closed form."""
    z = logits[:MOST_ROWS].astype(np.float64)
    z = z - z.mean(axis=1, keepdims=True)
    mean, top = z.mean(axis=0), z.argmax(axis=1)
    u, s, v = np.linalg.svd(z - mean, full_matrices=False)
    shares, approximation = [], np.broadcast_to(mean, z.shape).copy()
    for r in range(len(s) + 1):
        shares.append(float((approximation.argmax(axis=1) == top).mean()))
        if r < len(s):
            approximation += s[r] * np.outer(u[:, r], v[r])
    return np.array(shares)


def layer_ranks(
    teacher: Mapping[str, Floats],
    student: Mapping[str, Floats],
    teacher_logits: Floats,
    student_logits: Floats,
    labels: Sequence[int] | NDArray[np.int64],
    maps: Iterable[str] = (),
) -> LayerRanks:
    """Features [n, d] by layer, logits [n, C] and labels [n] of the same rows; layers of more rows bring no labels.

    maps: the student's layers whose features are means over places.
    """
    y = np.asarray(labels, np.int64)

    def of(features: Floats) -> Rank:
        return rank_of(features, y if len(features) == len(y) else None)

    found = LayerRanks(
        teacher={name: of(features) for name, features in teacher.items()},
        student={name: of(features) for name, features in student.items()},
        teacher_logits=of(teacher_logits - teacher_logits.mean(axis=1, keepdims=True)),
        student_logits=of(student_logits - student_logits.mean(axis=1, keepdims=True)),
        kept=kept_by_rank(teacher_logits),
        rows=len(y),
        maps=frozenset(maps),
    )
    name = found.narrowest
    if name is None or len(student[name]) != len(student_logits):
        return found
    by_layer, by_answers = (explained_by_neighbours(layer, student_logits) for layer in (student[name], student_logits))
    return replace(found, carried=(by_layer, by_answers))
