"""The word that a gap in a newsgroup post held, one of 120: a network that knows positions, a mean as the student."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task
from kddoctor.bench.words import PADDING, UNKNOWN, numbered, posts, vocabulary

READ, REACH, WORDS = 160, 8, 6000
#: The words asked for: the most frequent of those long enough to say what a post is about, after the very common.
LETTERS, SKIPPED, ASKED = 5, 40, 120
TEACHER, TRANSFER, HELD_OUT = 36_000, 3000, 1200
STUDENT_WORDS, EMBEDDED = 4000, 24


def load() -> Data:
    """36,000 gaps for the teacher; of the posts after those, 3,000 for the student and 1,200 for neither."""
    texts, _ = posts(READ)
    numbers = vocabulary(texts, WORDS)
    asked = [word for word in numbers if len(word) >= LETTERS][SKIPPED : SKIPPED + ASKED]
    contexts, answers = _gaps(texts, {word: number for number, word in enumerate(asked)})
    inputs, labels = numbered(contexts, numbers, 2 * REACH), torch.tensor(answers)
    bounds = (0, TEACHER, TEACHER + TRANSFER, TEACHER + TRANSFER + HELD_OUT)
    return Data(*(TensorDataset(inputs[start:end], labels[start:end]) for start, end in pairwise(bounds)))


def _gaps(texts: Sequence[Sequence[str]], asked: Mapping[str, int]) -> tuple[list[list[str]], list[int]]:
    """The words around each word that is asked for, and its number."""
    contexts, answers = [], []
    for text in texts:
        for at in range(REACH, len(text) - REACH):
            answer = asked.get(text[at])
            if answer is not None:
                contexts.append([*text[at - REACH : at], *text[at + 1 : at + 1 + REACH]])
                answers.append(answer)
    return contexts, answers


class Positions(nn.Module):
    """Embeddings side by side, and a hidden layer with batch normalisation and dropout."""

    def __init__(self, embedded: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, embedded, padding_idx=PADDING)
        self.hidden = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * REACH * embedded, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(hidden, ASKED)
        nn.init.normal_(self.embedding.weight[1:], std=0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B, 120] logits."""
        logits: Tensor = self.head(self.hidden(self.embedding(inputs).flatten(1)))
        return logits


class Nearby(nn.Module):
    """The mean of the embeddings, the words nearest to the gap counting most as far as it learns that they do."""

    def __init__(self, embedded: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(STUDENT_WORDS, embedded, padding_idx=PADDING)
        self.weights = nn.Parameter(torch.ones(2 * REACH, embedded) / REACH)
        self.pooled = nn.Identity()
        self.head = nn.Linear(embedded, ASKED)
        nn.init.normal_(self.embedding.weight[1:], std=0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B, 120] logits."""
        words = self.embedding(inputs.where(inputs < STUDENT_WORDS, UNKNOWN))
        logits: Tensor = self.head(self.pooled((words * self.weights).sum(1)))
        return logits


def make_teacher() -> nn.Module:
    """24 numbers a word, 128 hidden units."""
    return Positions(24, 128, dropout=0.4)


def make_student(width: float = 1.0) -> nn.Module:
    """24 numbers a word."""
    return Nearby(max(1, round(EMBEDDED * width)))


TASK = Task(
    name="cloze",
    kind="multiclass",
    seen=False,
    classes=ASKED,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.0,
        alpha=0.8,
        epochs=15,
        batch_size=100,
        optimizer="adam",
        learning_rate=0.02,
        schedule="cosine",
        teacher=TeacherRecipe(epochs=6, batch_size=128, learning_rate=3e-3),
    ),
    layers={"teacher": ("hidden",), "student": ("pooled",)},
)
