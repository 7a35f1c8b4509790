"""Will this user like this film? A wide two-tower teacher, a narrow one as the student. Data: MovieLens, 2016."""

import csv
import gzip
from collections import Counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.data import find
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task

#: Users and films with fewer ratings than this are left out, and a rating from LIKED up counts as liked.
FEWEST, LIKED = 60, 4.0
HELD_OUT, TRANSFER, DIMENSIONS = 1500, 2500, 4
GENRES = (
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
#: Room for the numbers of users and films.
USERS, FILMS = 700, 700


def load() -> Data:
    """All other ratings for the teacher, 2,500 of them for the student, 1,500 that neither sees.

    Inputs [N, 20]: the user's number, the film's number, a bit for each genre. Labels: 1 where the user liked it.
    """
    with gzip.open(find("movielens.csv.gz"), "rt", encoding="utf-8") as file:
        ratings = list(csv.DictReader(file))
    by_film = Counter(row["movieId"] for row in ratings)
    by_user = Counter(row["userId"] for row in ratings)
    kept = [row for row in ratings if min(by_film[row["movieId"]], by_user[row["userId"]]) >= FEWEST]
    users = {name: number for number, name in enumerate(sorted({row["userId"] for row in kept}))}
    films = {name: number for number, name in enumerate(sorted({row["movieId"] for row in kept}))}
    inputs = torch.tensor([[users[row["userId"]], films[row["movieId"]], *_genres(row["genres"])] for row in kept])
    labels = torch.tensor([int(float(row["rating"]) >= LIKED) for row in kept])
    order = torch.from_numpy(np.random.default_rng(3).permutation(len(labels)))
    val, train = order[:HELD_OUT], order[HELD_OUT:]
    return Data(*(TensorDataset(inputs[rows], labels[rows]) for rows in (train, train[:TRANSFER], val)))


def _genres(names: str) -> list[int]:
    found = set(names.split("|"))
    return [int(genre in found) for genre in GENRES]


class Tower(nn.Module):
    """A number's embedding, with a last element that is added to the score as it is (the bias of user or film)."""

    def __init__(self, count: int, dimensions: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, dimensions + 1)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, numbers: Tensor) -> Tensor:
        """[B] numbers to [B, dimensions + 1]."""
        vectors: Tensor = self.dropout(self.embedding(numbers))
        return vectors


class TwoTowers(nn.Module):
    """The score is the dot product of what the user wants and what the film and its genres offer, plus biases."""

    def __init__(self, dimensions: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.user = Tower(USERS, dimensions, dropout)
        self.film = Tower(FILMS, dimensions, dropout)
        self.genres = nn.Linear(len(GENRES), dimensions + 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, 2 + genres] to [B] logits."""
        user = self.user(inputs[:, 0])
        film = self.film(inputs[:, 1]) + self.genres(inputs[:, 2:].float())
        logits: Tensor = (user * film)[:, :-1].sum(1) + user[:, -1] + film[:, -1]
        return logits


def make_teacher() -> nn.Module:
    """32 dimensions a tower, with dropout."""
    return TwoTowers(32, dropout=0.5)


def make_student(width: float = 1.0) -> nn.Module:
    """Four dimensions a tower."""
    return TwoTowers(max(1, round(DIMENSIONS * width)))


TASK = Task(
    name="movielens",
    kind="ranking",
    seen=True,
    classes=None,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.0,
        alpha=0.8,
        epochs=24,
        batch_size=100,
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.1,
        schedule="step",
        teacher=TeacherRecipe(epochs=10, batch_size=256, learning_rate=5e-3, weight_decay=1e-5),
    ),
    layers={"teacher": ("user", "film"), "student": ("user", "film")},
    row_ids=lambda inputs: {"group_ids": inputs[:, 0], "item_ids": inputs[:, 1]},
)
