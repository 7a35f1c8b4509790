"""The vowels that were taken out of newsgroup posts: an LSTM that reads both ways, a gated convolution as the student.

Vowels that stand side by side leave one hole: "restoration" reads "r_st_r_t_n" and asks for e, o, a and io.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import glu
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.rows import IGNORED
from kddoctor.bench.task import Data, Task
from kddoctor.bench.words import posts

#: The signs of a line. The space is number 0 and also follows a line that has ended.
HOLE = "_"
SIGNS = " abcdefghijklmnopqrstuvwxyz" + HOLE
#: What a line is cut into: vowels side by side, or any other sign.
PIECE = re.compile("[aeiouy]+|[^aeiouy]")
#: So many groups of vowels leave a hole, the most frequent ones; rarer ones are left standing.
GROUPS = 20
#: Words read of a post, words of it passed over (subjects and addresses, mostly), and lines taken at most.
READ, PASSED, LINES = 90, 40, 3
#: Signs of a line. Words in a row that no two lines have in common: posts quote each other, people sign all of theirs.
LENGTH, QUOTED = 32, 4
TEACHER, TRANSFER, HELD_OUT = 16_000, 360, 1000
EMBEDDED, CHANNELS, REACH = 16, 64, 3


def load() -> Data:
    """16,000 lines for the teacher; of other posts, 360 for the student and 1,000 for neither, one line of each post.

    Posts come in a random order, and which lines are left out does not depend on it.
    """
    by_post = _unquoted([list(_lines(text[PASSED:])) for text in posts(READ)[0]])
    transfer, held_out = by_post[:TRANSFER], by_post[TRANSFER:][:HELD_OUT]
    rest = by_post[TRANSFER + HELD_OUT :]
    teacher = [line for lines in rest for line in lines][:TEACHER]
    counts = Counter(piece for line in teacher for piece in PIECE.findall(line) if _vowels(piece))
    asked = {group: number for number, (group, _) in enumerate(counts.most_common(GROUPS))}
    firsts = ([lines[0] for lines in part] for part in (transfer, held_out))
    return Data(*(_with_holes(lines, asked) for lines in (teacher, *firsts)))


def _lines(words: Sequence[str]) -> Iterator[str]:
    """The first few lines of whole words, each as long as fits and long enough to be compared."""
    line = ""
    found = 0
    for word in words:
        if len(f"{line} {word}") <= LENGTH:
            line = f"{line} {word}".strip()
            continue
        if line.count(" ") >= QUOTED - 1:
            yield line
            found += 1
        if found == LINES:
            return
        line = word[:LENGTH]


def _unquoted(by_post: Sequence[Sequence[str]]) -> list[list[str]]:
    """The lines that share no words in a row with another line, post by post, for posts that have any."""
    counts = Counter(run for lines in by_post for line in lines for run in _runs(line))
    kept = [[line for line in lines if all(counts[run] == 1 for run in _runs(line))] for lines in by_post]
    return [lines for lines in kept if lines]


def _runs(line: str) -> set[tuple[str, ...]]:
    """All that a line has of QUOTED words in a row."""
    words = line.split()
    return {tuple(words[at : at + QUOTED]) for at in range(len(words) - QUOTED + 1)}


def _vowels(piece: str) -> bool:
    return piece[0] in "aeiouy"


def _with_holes(lines: Sequence[str], asked: Mapping[str, int]) -> TensorDataset:
    """[N, L] signs, and [N, L] the number of what stood in each hole."""
    signs = torch.zeros(len(lines), LENGTH, dtype=torch.long)
    labels = torch.full_like(signs, IGNORED)
    for row, line in enumerate(lines):
        pieces = [piece for found in PIECE.findall(line) for piece in ([found] if found in asked else found)]
        numbers = [SIGNS.index(HOLE if piece in asked else piece) for piece in pieces]
        signs[row, : len(pieces)] = torch.tensor(numbers)
        labels[row, : len(pieces)] = torch.tensor([asked.get(piece, IGNORED) for piece in pieces])
    return TensorDataset(signs, labels)


class BothWays(nn.Module):
    """Embeddings, an LSTM from either end and a hidden layer over what the two have read, with dropout."""

    def __init__(self, embedded: int, units: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(SIGNS), embedded)
        self.lstm = nn.LSTM(embedded, units, batch_first=True, bidirectional=True)
        self.joined = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * units, units), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(units, GROUPS)

    def forward(self, signs: Tensor) -> Tensor:
        """[B, L] signs to [B, L, 20] logits."""
        read, _ = self.lstm(self.embedding(signs))
        logits: Tensor = self.head(self.joined(read))
        return logits


class Gated(nn.Module):
    """A convolution over the signs on either side, half of its channels being gates of the others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(SIGNS), EMBEDDED)
        self.convolution = nn.Conv1d(EMBEDDED, 2 * channels, 2 * REACH + 1, padding=REACH)
        self.gated = nn.Identity()
        self.head = nn.Linear(channels, GROUPS)

    def forward(self, signs: Tensor) -> Tensor:
        """[B, L] signs to [B, L, 20] logits."""
        near = glu(self.convolution(self.embedding(signs).transpose(1, 2)), dim=1)
        logits: Tensor = self.head(self.gated(near.transpose(1, 2)))
        return logits


def make_teacher() -> nn.Module:
    """96 units each way."""
    return BothWays(24, 96, dropout=0.2)


def make_student(width: float = 1.0) -> nn.Module:
    """64 channels and as many gates."""
    return Gated(max(1, round(CHANNELS * width)))


TASK = Task(
    name="vowels",
    kind="tokens",
    seen=True,
    classes=GROUPS,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=3.0,
        alpha=0.7,
        epochs=24,
        batch_size=10,
        optimizer="sgd",
        learning_rate=0.4,
        weight_decay=1e-4,
        schedule="cosine",
        clip=5.0,
        teacher=TeacherRecipe(epochs=4, batch_size=64, learning_rate=5e-3),
    ),
    layers={"teacher": ("joined",), "student": ("gated",)},
)
