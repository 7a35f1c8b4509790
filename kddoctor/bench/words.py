"""Texts as rows of word numbers, for the tasks that read."""

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from kddoctor.bench.data import find

#: Word numbers that are not words: after the end of a text, and a word that the vocabulary lacks.
PADDING, UNKNOWN = 0, 1


def posts(words: int) -> tuple[list[list[str]], Tensor]:
    """The first words of each newsgroup post, and [N] the number of its group; in a random order."""
    with gzip.open(find("newsgroups.jsonl.gz"), "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    posts = [found[at] for at in np.random.default_rng(3).permutation(len(found))]
    numbers = {group: number for number, group in enumerate(sorted({post["label"] for post in found}))}
    texts = [post["text"].split(maxsplit=words)[:words] for post in posts]
    return texts, torch.tensor([numbers[post["label"]] for post in posts])


def vocabulary(texts: Sequence[Sequence[str]], size: int) -> dict[str, int]:
    """The numbers 2 to size - 1, for the words that occur most often, the most frequent first."""
    counts = Counter(word for text in texts for word in text)
    return {word: number for number, (word, _) in enumerate(counts.most_common(size - 2), start=2)}


def numbered(texts: Sequence[Sequence[str]], numbers: Mapping[str, int], length: int) -> Tensor:
    """[N, length]: the first words of each text, padded."""
    rows = torch.full((len(texts), length), PADDING)
    for row, text in zip(rows.numpy(), texts, strict=True):
        found = [numbers.get(word, UNKNOWN) for word in islice(text, length)]
        row[: len(found)] = found
    return rows
