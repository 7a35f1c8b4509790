"""The group that a post was sent to: a small transformer, a bidirectional LSTM as the student."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task
from kddoctor.bench.words import PADDING, UNKNOWN, numbered, posts, vocabulary

LENGTH, PHRASE, WORDS, GROUPS = 60, 5, 8000, 20
TEACHER, TRANSFER, HELD_OUT = 11_000, 1500, 1200
#: The student knows the most frequent words only.
STUDENT_WORDS, EMBEDDED, HIDDEN = 3000, 24, 16


def load() -> Data:
    """11,000 posts for the teacher, 1,500 others for the student, 1,200 for neither."""
    texts, labels = posts(LENGTH)
    inputs = numbered(texts, vocabulary(texts[:TEACHER], WORDS), LENGTH)
    bounds = (0, TEACHER, TEACHER + TRANSFER, TEACHER + TRANSFER + HELD_OUT)
    return Data(*(TensorDataset(inputs[start:end], labels[start:end]) for start, end in pairwise(bounds)))


class Phrases(nn.Module):
    """Five words after one another, as the mean of their embeddings; there are none beyond the vocabulary."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight[1:], std=0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B, L / 5, D]."""
        words: Tensor = self.embedding(inputs.where(inputs < self.embedding.num_embeddings, UNKNOWN))
        return words.reshape(len(words), -1, PHRASE, words.shape[-1]).mean(2)


class Attention(nn.Module):
    """Self-attention of four heads, with a residual."""

    HEADS = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, phrases: Tensor) -> Tensor:
        """[B, L, D] to [B, L, D]."""
        heads = self.mix(self.norm(phrases)).unflatten(-1, (3 * self.HEADS, -1)).transpose(1, 2)
        heard = scaled_dot_product_attention(*heads.chunk(3, dim=1))
        mixed: Tensor = self.out(heard.transpose(1, 2).flatten(2))
        return phrases + mixed


class Transformer(nn.Module):
    """One layer of attention between phrases, and the mean of them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.phrases = Phrases(WORDS, width)
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(width)
        self.pooled = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout))
        self.head = nn.Linear(width, GROUPS)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B, 20] logits."""
        phrases = self.attention(self.dropout(self.phrases(inputs)))
        logits: Tensor = self.head(self.pooled(phrases.mean(1)))
        return logits


class Recurrent(nn.Module):
    """An LSTM over phrases of frequent words, each way, and the mean of each unit."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.phrases = Phrases(STUDENT_WORDS, EMBEDDED)
        self.lstm = nn.LSTM(EMBEDDED, hidden, batch_first=True, bidirectional=True)
        self.pooled = nn.Identity()
        self.head = nn.Linear(2 * hidden, GROUPS)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, L] word numbers to [B, 20] logits."""
        states, _ = self.lstm(self.phrases(inputs))
        logits: Tensor = self.head(self.pooled(states.mean(1)))
        return logits


def make_teacher() -> nn.Module:
    """A transformer of 530,000 parameters, most of them embeddings, with dropout."""
    return Transformer(64, dropout=0.5)


def make_student(width: float = 1.0) -> nn.Module:
    """Sixteen units each way."""
    return Recurrent(max(1, round(HIDDEN * width)))


TASK = Task(
    name="newsgroups",
    kind="multiclass",
    seen=True,
    classes=GROUPS,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.0,
        alpha=0.6,
        epochs=14,
        batch_size=60,
        optimizer="adam",
        learning_rate=0.04,
        schedule="cosine",
        clip=1.0,
        teacher=TeacherRecipe(epochs=7, batch_size=64, learning_rate=3e-3),
    ),
    layers={"teacher": ("pooled",), "student": ("pooled",)},
)
