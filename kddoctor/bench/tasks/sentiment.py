"""Whether a snippet of a film review is kind: embeddings of words and pairs, a convolution as the student."""

import gzip
import re
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.data import find
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task
from kddoctor.bench.words import PADDING, UNKNOWN, numbered, vocabulary

LENGTH, WORDS, TEACHER, TRANSFER = 32, 8000, 7000, 2000
STUDENT_WORDS, EMBEDDED, CHANNELS = 2500, 8, 8


def load() -> Data:
    """7,000 snippets for the teacher, 2,000 others for the student, the remaining 1,605 for neither."""
    texts, labels = _read()
    inputs = numbered(texts, vocabulary(texts[:TEACHER], WORDS), LENGTH)
    bounds = (0, TEACHER, TEACHER + TRANSFER, len(texts))
    return Data(*(TensorDataset(inputs[start:end], labels[start:end]) for start, end in pairwise(bounds)))


def _read() -> tuple[list[list[str]], Tensor]:
    """Words, and [N] 1 where people found the snippet kind rather than not; in a random order."""
    with gzip.open(find("sentiment.tsv.gz"), "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    order = np.random.default_rng(3).permutation(len(rows)).tolist()
    texts = [re.findall(r"[a-z']+", rows[at][2].lower()) for at in order]
    return texts, torch.tensor([int(float(rows[at][1]) > 0) for at in order])


class Averaged(nn.Module):
    """The mean of word and word-pair embeddings and a hidden layer, with dropout. Pairs share hashed rows."""

    PAIRS = 20_000

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width, padding_idx=PADDING)
        self.pairs = nn.Embedding(self.PAIRS, width)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)
        nn.init.normal_(self.words.weight[1:], std=0.1)
        nn.init.normal_(self.pairs.weight, std=0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B] logits."""
        pairs = (inputs[:, :-1] * 7919 + inputs[:, 1:]) % self.PAIRS
        mean = self.words(inputs).mean(1) + self.pairs(pairs).mean(1)
        logits: Tensor = self.head(self.dropout(self.hidden(self.dropout(mean)).relu()))
        return logits.squeeze(-1)


class Convolution(nn.Module):
    """Embeddings of the frequent words, a convolution of two words, the mean of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(STUDENT_WORDS, EMBEDDED, padding_idx=PADDING)
        self.convolution = nn.Conv1d(EMBEDDED, channels, 2)
        self.pooled = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(channels, 1)
        nn.init.normal_(self.embedding.weight[1:], std=0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B] logits."""
        words = self.embedding(inputs.where(inputs < STUDENT_WORDS, UNKNOWN)).transpose(1, 2)
        logits: Tensor = self.head(self.pooled(self.convolution(words).relu()).squeeze(-1))
        return logits.squeeze(-1)


def make_teacher() -> nn.Module:
    """Embeddings of 48 numbers, 1.3 million in all."""
    return Averaged(48, dropout=0.5)


def make_student(width: float = 1.0) -> nn.Module:
    """Eight channels."""
    return Convolution(max(1, round(CHANNELS * width)))


TASK = Task(
    name="sentiment",
    kind="ranking",
    seen=False,
    classes=None,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.5,
        alpha=0.75,
        epochs=10,
        batch_size=64,
        optimizer="adamw",
        learning_rate=1e-2,
        weight_decay=0.1,
        schedule="cosine",
        teacher=TeacherRecipe(epochs=6, batch_size=64, learning_rate=3e-3),
    ),
    layers={"teacher": ("hidden",), "student": ("pooled",)},
)
