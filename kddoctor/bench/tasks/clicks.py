"""Will this user click on this film now? A deep cross network as the teacher, a light two-tower model as the student.

Click logs hold no dislikes: every rating counts as a click, and films that were shown but passed over are drawn from
the catalogue of that day, popular ones more often. Data: MovieLens, 2016.
"""

import csv
import gzip
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.data import find
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task

#: Films with fewer clicks are left out; of a user, no more clicks than this are kept as impressions.
FEWEST, PER_USER = 20, 50
#: Films passed over for each one clicked, and the power of its clicks that makes a film likely to be one of these.
PASSED_OVER, POWER = 5, 0.75
#: Impressions (a click and what was passed over beside it) that nobody trains on, and those of the student.
HELD_OUT, TRANSFER = 330, 300
TAGS = (
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
#: Seconds of a day and of a year.
DAY, YEAR = 86400, 31556952
#: Columns of a row: two ids, then what is known of the user, then what is known of the film.
IDS, ABOUT_USER, ABOUT_FILM = 2, len(TAGS) + 4, len(TAGS) + 4
#: Room for the numbers of users and films, and the sizes of both models.
USERS, FILMS = 700, 1400
EMBEDDED, CROSSES, DEEP = 16, 2, (128, 64)
HIDDEN, MATCHED = 64, 8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Log:
    """The clicks in the order of time, as columns.

    user, film, time: of each click. own: the places of each user's clicks. tags, year, clicks: of each film.
    """

    def __init__(self, rows: list[dict[str, str]]) -> None:
        rows = sorted(rows, key=lambda row: int(row["timestamp"]))
        self.time = np.array([int(row["timestamp"]) for row in rows])
        _, self.user = np.unique([int(row["userId"]) for row in rows], return_inverse=True)
        films = [int(row["movieId"]) for row in rows]
        _, first, self.film = np.unique(films, return_index=True, return_inverse=True)
        self.own = [np.flatnonzero(self.user == user) for user in range(self.user.max() + 1)]
        self.tags = np.array([_tags(rows[place]["genres"]) for place in first], dtype=np.float32)
        self.year = np.array([float(rows[place]["year"]) for place in first])
        self.clicks = np.bincount(self.film)
        self._keys = np.sort(self._key(self.film, self.time))

    def clicks_before(self, film: Ints, time: Ints) -> Ints:
        """How often each film had been clicked before each time."""
        ends, starts = (np.searchsorted(self._keys, self._key(film, moment)) for moment in (time, np.zeros_like(time)))
        return ends - starts

    def films_before(self, place: int) -> Ints:
        """What the user of a click had clicked before."""
        own = self.own[self.user[place]]
        films: Ints = self.film[own[: np.searchsorted(self.time[own], self.time[place])]]
        return films

    @staticmethod
    def _key(film: Ints, time: Ints) -> Ints:
        return film * 2**32 + time


def _tags(names: str) -> list[int]:
    found = set(names.split("|"))
    return [int(tag in found) for tag in TAGS]


def load() -> Data:
    """All impressions but the held-out ones for the teacher, 300 of them for the student; an impression stays whole.

    Inputs [N, 48]: user, film, then what was known of each at that moment. Labels: 1 for the film that was clicked.
    """
    with gzip.open(find("movielens.csv.gz"), "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clicks = Counter(row["movieId"] for row in rows)
    log = Log([row for row in rows if clicks[row["movieId"]] >= FEWEST])
    rng = np.random.default_rng(11)
    shown = np.concatenate([_impressions(log, own, rng) for own in log.own])
    rng.shuffle(shown)
    train, val = shown[HELD_OUT:], shown[:HELD_OUT]
    return Data(*(_rows(log, part) for part in (train, train[:TRANSFER], val)))


def _impressions(log: Log, own: Ints, rng: np.random.Generator) -> Ints:
    """[n, 2 + PASSED_OVER]: the place of a user's click, the film clicked, the films passed over.

    No film is shown twice to a user, and no two impressions are of the same second: no row says the same as another.
    """
    _, moments = np.unique(log.time[own], return_index=True)
    unseen = np.ones(len(log.clicks), dtype=bool)
    unseen[log.film[own]] = False
    found = []
    for place in rng.permutation(own[moments])[:PER_USER]:
        there = unseen & (log.year <= _year(log.time[place]))
        if there.sum() < PASSED_OVER:
            continue
        # The first arrivals at these rates are a draw without replacement, likely films first.
        arrivals = np.where(there, rng.exponential(size=len(there)) / log.clicks**POWER, np.inf)
        passed = np.argsort(arrivals)[:PASSED_OVER]
        unseen[passed] = False
        found.append([place, log.film[place], *passed])
    return np.array(found, dtype=np.int64).reshape(-1, 2 + PASSED_OVER)


def _year(time: int) -> int:
    return datetime.fromtimestamp(int(time), UTC).year


def _rows(log: Log, shown: Ints) -> TensorDataset:
    """A row for each film of each impression, the clicked one first."""
    places, film = shown[:, 0].repeat(1 + PASSED_OVER), shown[:, 1:].reshape(-1)
    about_user = np.array([_about_user(log, place) for place in shown[:, 0]]).repeat(1 + PASSED_OVER, axis=0)
    about_film = _about_film(log, film, log.time[places])
    inputs = np.column_stack([log.user[places], film, about_user, about_film]).astype(np.float32)
    labels = np.arange(len(inputs)) % (1 + PASSED_OVER) == 0
    return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)))


def _about_user(log: Log, place: int) -> list[float]:
    """Shares of tags among the user's clicks so far, the mean year of these, their number, and the hour of the day."""
    films = log.films_before(place)
    of = films if len(films) else np.arange(len(log.year))
    hour = 2 * np.pi * (log.time[place] % DAY) / DAY
    taste = 2 * log.tags[of].mean(0)
    return [*taste, (log.year[of].mean() - 1990) / 10, np.log1p(len(films)) / 3 - 1, np.sin(hour), np.cos(hour)]


def _about_film(log: Log, film: Ints, time: Ints) -> Floats:
    """Tags, the year, the age, and the clicks so far, in number and per 10,000 of all clicks so far."""
    year = log.year[film]
    before = log.clicks_before(film, time)
    share = 1e4 * before / (1 + np.searchsorted(log.time, time))
    age = np.maximum(1970 + time / YEAR - year, 0)
    numbers = ((year - 1990) / 10, np.log1p(age) - 2, np.log1p(before) / 2 - 1, np.log1p(share) - 1.5)
    return np.column_stack([log.tags[film], *numbers])


class Cross(nn.Module):
    """A cross layer of DCN-v2: products of every input with a projection of what came before."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, size)

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        crossed: Tensor = first * self.project(last) + last
        return crossed


class DeepCross(nn.Module):
    """Embedded ids and features through cross layers and, beside these, a deep network."""

    def __init__(self) -> None:
        super().__init__()
        size = 2 * EMBEDDED + ABOUT_USER + ABOUT_FILM
        self.user = nn.Embedding(USERS, EMBEDDED)
        self.film = nn.Embedding(FILMS, EMBEDDED)
        self.crosses = nn.ModuleList(Cross(size) for _ in range(CROSSES))
        wide, narrow = DEEP
        self.deep = nn.Sequential(
            *(nn.Linear(size, wide), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(0.2)),
        )
        self.score = nn.Linear(size + narrow, 1)
        for table in (self.user, self.film):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, columns] to [B] logits."""
        ids = inputs[:, :IDS].long()
        first = torch.cat([self.user(ids[:, 0]), self.film(ids[:, 1]), inputs[:, IDS:]], dim=1)
        crossed = first
        for cross in self.crosses:
            crossed = cross(first, crossed)
        logits: Tensor = self.score(torch.cat([crossed, self.deep(first)], dim=1))[:, 0]
        return logits


class Matched(nn.Module):
    """A tower for the user's taste and one for the film; the logit is how well they match."""

    def __init__(self, width: float) -> None:
        super().__init__()
        hidden, matched = max(1, round(HIDDEN * width)), max(1, round(MATCHED * width))
        self.user = nn.Sequential(nn.Linear(ABOUT_USER, hidden), nn.ReLU(), nn.Linear(hidden, matched))
        self.film = nn.Sequential(nn.Linear(ABOUT_FILM, hidden), nn.ReLU(), nn.Linear(hidden, matched))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, columns] to [B] logits."""
        user, film = inputs[:, IDS:-ABOUT_FILM], inputs[:, -ABOUT_FILM:]
        logits: Tensor = (self.user(user) * self.film(film)).sum(1) + self.bias
        return logits


def make_teacher() -> nn.Module:
    """Embeddings of 16 numbers, two cross layers, and a deep part of 128 and 64 units."""
    return DeepCross()


def make_student(width: float = 1.0) -> nn.Module:
    """No ids: two towers of 64 hidden units that meet in 8 numbers."""
    return Matched(width)


TASK = Task(
    name="clicks",
    kind="ranking",
    seen=True,
    classes=None,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.0,
        alpha=0.9,
        epochs=60,
        batch_size=128,
        optimizer="adam",
        learning_rate=5e-3,
        weight_decay=1e-5,
        schedule="cosine",
        teacher=TeacherRecipe(epochs=6, batch_size=512, learning_rate=2e-3, weight_decay=1e-5),
    ),
    layers={"teacher": ("deep",), "student": ("film",)},
    row_ids=lambda inputs: {"group_ids": inputs[:, 0].long(), "item_ids": inputs[:, 1].long()},
)
