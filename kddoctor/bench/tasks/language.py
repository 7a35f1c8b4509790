"""The next piece of a word in newsgroup posts: a recurrent teacher, a causal convolution as the student."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.data import TensorDataset

from kddoctor.bench.data import find
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data, Task

LENGTH, PAIRS = 24, 36
#: Padding, the letters and the space, and the most frequent pairs of them.
VOCABULARY = 1 + 27 + PAIRS
TEACHER, TRANSFER, HELD_OUT, CHANNELS = 20_000, 500, 500, 128
#: Lines taken from one post at most, so that no long post sets the tone.
LINES = 8


def load() -> Data:
    """20,000 lines for the teacher, 500 of them for the student; 500 of other posts that neither sees.

    A line is as many whole words as fit into 24 tokens; shorter ones are padded, and the padding is ignored.
    """
    with gzip.open(find("newsgroups.jsonl.gz"), "rt", encoding="utf-8") as file:
        posts = [json.loads(line) for line in file]
    train, test = (_shuffled([post["text"] for post in posts if post["split"] == name]) for name in ("train", "test"))
    numbers = _vocabulary(train[:1000])
    pieces = re.compile("|".join(sorted(numbers, key=len, reverse=True)))
    tokens, others = (_lines(texts, pieces, numbers, count) for texts, count in ((train, TEACHER), (test, HELD_OUT)))
    return Data(*(_next_tokens(lines) for lines in (tokens, tokens[:TRANSFER], others)))


def _shuffled(texts: Sequence[str]) -> list[str]:
    return [texts[number] for number in np.random.default_rng(3).permutation(len(texts))]


def _vocabulary(texts: Sequence[str]) -> dict[str, int]:
    pairs = Counter(text[at : at + 2] for text in texts for at in range(min(len(text), 2000) - 1))
    letters = [*"abcdefghijklmnopqrstuvwxyz "]
    return {piece: 1 + at for at, piece in enumerate((*letters, *(pair for pair, _ in pairs.most_common(PAIRS))))}


def _lines(texts: Sequence[str], pieces: re.Pattern[str], numbers: dict[str, int], count: int) -> Tensor:
    """[count, LENGTH + 1] tokens in a random order, 0 where a line has ended."""
    found: list[list[int]] = []
    for text in texts:
        found += _wrapped(text, pieces, numbers)
        if len(found) >= count:
            break
    rows = torch.tensor([[*line, *[0] * (LENGTH + 1 - len(line))] for line in found[:count]])
    return rows[torch.from_numpy(np.random.default_rng(3).permutation(len(rows)))]


def _wrapped(text: str, pieces: re.Pattern[str], numbers: dict[str, int]) -> Iterator[list[int]]:
    line: list[int] = []
    written = 0
    for word in text[: LINES * LENGTH * 2].split():
        tokens = [numbers[piece] for piece in pieces.findall(f"{word} ")][:LENGTH]
        if len(line) + len(tokens) > LENGTH + 1:
            yield line
            line, written = [], written + 1
            if written == LINES:
                return
        line = line + tokens
    if len(line) > 1:
        yield line


def _next_tokens(lines: Tensor) -> TensorDataset:
    following = lines[:, 1:]
    return TensorDataset(lines[:, :-1].contiguous(), torch.where(following == 0, IGNORED, following))


class Recurrent(nn.Module):
    """Embedding, GRU and a linear layer, with dropout between them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 10)
        self.gru = nn.GRU(10, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L] tokens to [B, L, V] logits."""
        states, _ = self.gru(self.embedding(tokens))
        logits: Tensor = self.head(self.dropout(states))
        return logits


class Causal(nn.Module):
    """A token is foretold from the four tokens before it."""

    REACH = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 10)
        self.convolution = nn.Conv1d(10, channels, self.REACH)
        self.head = nn.Linear(channels, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L] tokens to [B, L, V] logits."""
        past = pad(self.embedding(tokens).transpose(1, 2), (self.REACH - 1, 0))
        logits: Tensor = self.head(self.convolution(past).relu().transpose(1, 2))
        return logits


def make_teacher() -> nn.Module:
    """A GRU of 128 units."""
    return Recurrent(128, dropout=0.2)


def make_student(width: float = 1.0) -> nn.Module:
    """A convolution of 128 channels."""
    return Causal(max(1, round(CHANNELS * width)))


TASK = Task(
    name="language",
    kind="tokens",
    seen=True,
    classes=VOCABULARY,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=1.5,
        alpha=0.8,
        epochs=20,
        batch_size=25,
        optimizer="adamw",
        learning_rate=0.02,
        schedule="cosine",
        clip=1.0,
        teacher=TeacherRecipe(epochs=4, batch_size=64, learning_rate=4e-3),
    ),
    layers={"teacher": ("embedding",), "student": ("embedding",)},
)
