"""The two letters that a gap in a post held, one of 150 pairs: a deep network, a convolution as the student."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task
from kddoctor.bench.words import posts

#: The space is number 0.
LETTERS = " abcdefghijklmnopqrstuvwxyz"
#: Words read of a post, letters seen on either side of a gap, pairs of letters asked for, and gaps of one post at most.
READ, REACH, PAIRS, GAPS = 40, 5, 150, 4
TEACHER, TRANSFER, HELD_OUT = 40_000, 3000, 1200
EMBEDDED, CHANNELS = 6, 16


def load() -> Data:
    """40,000 gaps for the teacher; of the posts after those, 3,000 for the student and 1,200 for neither."""
    texts, _ = posts(READ)
    lines = [" ".join(text) for text in texts]
    pairs = Counter(pair for line in lines for pair in map("".join, pairwise(line)) if " " not in pair)
    asked = {pair: number for number, (pair, _) in enumerate(pairs.most_common(PAIRS))}
    contexts, answers = _gaps(lines, asked)
    inputs = torch.tensor([[LETTERS.index(letter) for letter in context] for context in contexts])
    labels = torch.tensor(answers)
    bounds = (0, TEACHER, TEACHER + TRANSFER, TEACHER + TRANSFER + HELD_OUT)
    return Data(*(TensorDataset(inputs[start:end], labels[start:end]) for start, end in pairwise(bounds)))


def _gaps(lines: Sequence[str], asked: dict[str, int]) -> tuple[list[str], list[int]]:
    """The letters around a few gaps of each line, and the number of the pair that stood there."""
    rng = np.random.default_rng(3)
    contexts, answers = [], []
    for line in lines:
        places = [at for at in range(REACH, len(line) - REACH - 1) if line[at : at + 2] in asked]
        for at in rng.permutation(places)[:GAPS]:
            contexts.append(line[at - REACH : at] + line[at + 2 : at + 2 + REACH])
            answers.append(asked[line[at : at + 2]])
    return contexts, answers


class Deep(nn.Module):
    """Embeddings side by side, and two hidden layers with layer normalisation and dropout."""

    def __init__(self, embedded: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), embedded)
        self.first = nn.Sequential(
            nn.Linear(2 * REACH * embedded, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout)
        )
        self.second = nn.Sequential(nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, PAIRS)

    def forward(self, letters: Tensor) -> Tensor:
        """[B, 10] letters to [B, 150] logits."""
        logits: Tensor = self.head(self.second(self.first(self.embedding(letters).flatten(1))))
        return logits


class Convolved(nn.Module):
    """A convolution over the letters that halves their number, and a linear layer over what it found where."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), EMBEDDED)
        self.convolution = nn.Conv1d(EMBEDDED, channels, 3, stride=2, padding=1)
        self.found = nn.ReLU()
        self.head = nn.Linear(REACH * channels, PAIRS)

    def forward(self, letters: Tensor) -> Tensor:
        """[B, 10] letters to [B, 150] logits."""
        found = self.found(self.convolution(self.embedding(letters).transpose(1, 2)))
        logits: Tensor = self.head(found.flatten(1))
        return logits


def make_teacher() -> nn.Module:
    """16 numbers a letter, twice 256 hidden units."""
    return Deep(16, 256, dropout=0.2)


def make_student(width: float = 1.0) -> nn.Module:
    """16 channels."""
    return Convolved(max(1, round(CHANNELS * width)))


TASK = Task(
    name="spelling",
    kind="multiclass",
    seen=True,
    classes=PAIRS,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.0,
        alpha=0.9,
        epochs=40,
        batch_size=50,
        optimizer="sgd",
        learning_rate=0.2,
        schedule="step",
        teacher=TeacherRecipe(epochs=5, batch_size=128, learning_rate=2e-3),
    ),
    layers={"teacher": ("second",), "student": ("found",)},
)
