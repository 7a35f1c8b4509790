"""Real tasks as plain arrays: rows for the teacher, others for the student, and held-out rows that neither sees."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kddoctor.bench.tasks import clothes, movielens, sentiment
from kddoctor.bench.words import posts

#: Most held-out rows of a task; digits and movielens have fewer to spare.
HELD_OUT = 2000
#: Directions of the texts' term weights that models get.
DIRECTIONS = 100


@dataclass(frozen=True)
class Rows:
    """inputs [n, d] float, labels [n]. groups: [n] user of each row, of rankings only."""

    inputs: Tensor
    labels: Tensor
    groups: Tensor | None = None

    def __getitem__(self, rows: slice) -> "Rows":
        return Rows(self.inputs[rows], self.labels[rows], None if self.groups is None else self.groups[rows])


@dataclass(frozen=True)
class Task:
    """kind: as in kd_run.yaml. outputs: logits a row. hidden: units of the student. epochs: of the student."""

    name: str
    kind: str
    outputs: int
    hidden: int
    epochs: int
    teacher: Rows
    student: Rows
    held_out: Rows


def digits() -> Task:
    """Handwritten digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = _shuffled(Rows(torch.tensor(data.data / 16).float(), torch.tensor(data.target)))
    return Task("digits", "multiclass", 10, 24, 60, rows[:1000], rows[400:1000], rows[1000:])


def clothes_() -> Task:
    """Fashion-MNIST at half its size."""
    train, test = clothes._read("train", 12_000), clothes._read("t10k", HELD_OUT)
    mean, deviation = train[0].mean(), train[0].std()
    rows, held_out = (Rows((images.flatten(1) - mean) / deviation, labels) for images, labels in (train, test))
    return Task("clothes", "multiclass", 10, 32, 16, rows, rows[:3000], held_out)


def newsgroups() -> Task:
    """The group that a post was sent to."""
    words, labels = posts(200)
    rows = _shuffled(_terms([" ".join(post) for post in words], labels))
    return Task("newsgroups", "multiclass", 20, 24, 12, rows[:11_000], rows[11_000:14_000], rows[14_000:][:HELD_OUT])


def sentiment_() -> Task:
    """Whether a snippet of a film review is kind."""
    words, labels = sentiment._read()
    rows = _shuffled(_terms([" ".join(text) for text in words], labels))
    return Task("sentiment", "binary", 1, 12, 12, rows[:6000], rows[6000:8500], rows[8500:][:HELD_OUT])


def movielens_(hidden: int = 32) -> Task:
    """Whether a user likes a film; held-out rows are ranked user by user."""
    data = movielens.load()
    parts = []
    for part in (data.teacher, data.train, data.val):
        numbers, labels = part.tensors
        users = torch.nn.functional.one_hot(numbers[:, 0], movielens.USERS)
        films = torch.nn.functional.one_hot(numbers[:, 1], movielens.FILMS)
        parts.append(Rows(torch.cat([users, films, numbers[:, 2:]], dim=1).float(), labels, numbers[:, 0]))
    return Task("movielens", "ranking", 1, hidden, 12, *parts)


def narrow() -> Task:
    """The same with a student so narrow that one seed in twenty ends in another, worse solution."""
    return movielens_(hidden=8)


def _shuffled(rows: Rows) -> Rows:
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(rows.labels)))
    return Rows(rows.inputs[order], rows.labels[order])


def _terms(texts: list[str], labels: Tensor) -> Rows:
    """Term weights of words and pairs of words, along their strongest directions, each of unit variance."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    counts = HashingVectorizer(n_features=2**16, ngram_range=(1, 2)).transform(texts)
    reduced = TruncatedSVD(DIRECTIONS, random_state=0).fit_transform(TfidfTransformer().fit_transform(counts))
    return Rows(torch.from_numpy(reduced / reduced.std(axis=0)).float(), labels)


#: Those whose seeds the prior of ``kddoctor.baselines.noise`` was read from, and the others, whose first figures were
#: known by then, too.
OF_THE_PRIOR = {"digits": digits, "newsgroups": newsgroups, "sentiment": sentiment_}
OTHERS = {"clothes": clothes_, "movielens": movielens_, "movielens, narrow": narrow}
