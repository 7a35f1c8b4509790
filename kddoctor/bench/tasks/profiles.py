"""The garment that measurements of its photograph belong to, some kinds rare: a wide residual MLP, a small MLP."""

import gzip

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.data import find
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task

SIDE, BANDS, KINDS = 28, 14, 10
#: Four profiles in bands, and three moments of two of them.
MEASUREMENTS = 4 * BANDS + 2 * 3
#: Photographs left to the task that looks at their pixels, so that the two share none.
SKIPPED = 12_000
#: Rows of the most frequent kind, how many times as many as of the rarest, and the kinds from frequent to rare.
MOST, IMBALANCE = 4600, 6.0
BY_FREQUENCY = (6, 3, 4, 0, 2, 9, 7, 5, 8, 1)
#: Rows nearer to each other than this, in deviations over all measurements together, may be one garment photographed
#: twice: half of all rows have no other within 2.4. The two are kept out of different splits.
NEAR = 0.9
TRANSFER, HELD_OUT, HIDDEN = 1100, 2000, 40


def load() -> Data:
    """Some 18,900 rows for the teacher; of the others, 1,100 for the student and 2,000 for neither.

    Inputs [N, 62]: measurements, each with mean 0 and deviation 1 over the teacher's rows. Rows are split at random.
    """
    images, kinds = _photographs()
    kept = _imbalanced(kinds)
    inputs, labels = _measured(images[kept] / 255), kinds[kept]
    order = np.random.default_rng(11).permutation(len(kept))
    val, train, rest = np.split(order, (HELD_OUT, HELD_OUT + TRANSFER))
    scaled = (inputs - inputs[rest].mean(0)) / inputs[rest].std(0)
    rows, truth = torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
    train = train[_far(rows[train], rows[val])]
    rest = rest[_far(rows[rest], rows[np.concatenate((val, train))])]
    return Data(*(TensorDataset(rows[part], truth[part]) for part in (rest, train, val)))


def _photographs() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with gzip.open(find("fashion-mnist/train-images-idx3-ubyte.gz")) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    with gzip.open(find("fashion-mnist/train-labels-idx1-ubyte.gz")) as file:
        kinds = np.frombuffer(file.read(), np.uint8, offset=8)
    return images[SKIPPED:], kinds[SKIPPED:]


def _imbalanced(kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of the rows to keep: frequencies fall from kind to kind by the same factor."""
    counts = MOST * IMBALANCE ** -np.linspace(0, 1, KINDS)
    chosen = [np.flatnonzero(kinds == kind)[: round(count)] for kind, count in zip(BY_FREQUENCY, counts, strict=True)]
    return np.concatenate(chosen)


def _measured(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 28, 28] to [N, 62]: the light in bands across and down, the edges in the same bands, and moments."""
    across, down = _banded(images.mean(2)), _banded(images.mean(1))
    edges = _banded(np.abs(np.diff(images, axis=2)).mean(2)), _banded(np.abs(np.diff(images, axis=1)).mean(1))
    moments = [_moments(profile) for profile in (across, down)]
    return np.concatenate((across, down, *edges, *moments), axis=1)


def _banded(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of neighbours, [N, 28] to [N, 14]."""
    means: NDArray[np.float64] = profiles.reshape(len(profiles), BANDS, -1).mean(2)
    return means


def _moments(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 3]: where a profile lies, how wide it is, and how lopsided."""
    places = np.linspace(-1, 1, profiles.shape[1])
    share = profiles / profiles.sum(1, keepdims=True)
    centre = share @ places
    offsets = places - centre[:, None]
    width = np.sqrt((share * offsets**2).sum(1))
    return np.stack((centre, width, (share * offsets**3).sum(1) / width**3), axis=1)


def _far(rows: Tensor, others: Tensor) -> NDArray[np.bool_]:
    """Whether each row has none of the others near it."""
    nearest = [torch.cdist(some, others).min(1).values for some in torch.split(rows, 1000)]
    return (torch.cat(nearest) > NEAR).numpy()


class Widening(nn.Module):
    """A residual block as for tables: normalise, widen, narrow again, with dropout after each half."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, D] to [B, D]."""
        wide = self.dropout(self.widen(self.norm(rows)).relu())
        narrowed: Tensor = self.dropout(self.narrow(wide))
        return rows + narrowed


class ResidualTable(nn.Module):
    """Blocks on top of a linear view of the measurements."""

    def __init__(self, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.view = nn.Linear(MEASUREMENTS, width)
        self.blocks = nn.Sequential(*(Widening(width, dropout) for _ in range(blocks)))
        self.last = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, KINDS)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, 62] measurements to [B, 10] logits."""
        logits: Tensor = self.head(self.last(self.blocks(self.view(rows))))
        return logits


class SmallTable(nn.Module):
    """One hidden layer with batch normalisation."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(MEASUREMENTS, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.active = nn.ReLU()
        self.head = nn.Linear(hidden, KINDS)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, 62] measurements to [B, 10] logits."""
        logits: Tensor = self.head(self.active(self.norm(self.hidden(rows))))
        return logits


def make_teacher() -> nn.Module:
    """Three blocks of 192 numbers, widened to 384."""
    return ResidualTable(192, 3, dropout=0.25)


def make_student(width: float = 1.0) -> nn.Module:
    """40 hidden units."""
    return SmallTable(max(1, round(HIDDEN * width)))


TASK = Task(
    name="profiles",
    kind="multiclass",
    seen=True,
    classes=KINDS,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=3.0,
        alpha=0.7,
        epochs=60,
        batch_size=128,
        optimizer="adamw",
        learning_rate=0.03,
        weight_decay=0.01,
        schedule="cosine",
        teacher=TeacherRecipe(epochs=10, batch_size=256, learning_rate=2e-3, weight_decay=1e-5),
    ),
    layers={"teacher": ("last",), "student": ("active",)},
)
