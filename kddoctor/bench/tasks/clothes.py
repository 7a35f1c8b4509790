"""Fashion-MNIST at half its size, shifted and mirrored: a CNN with batch normalisation, a thin CNN as the student."""

import gzip

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad
from torch.utils.data import TensorDataset

from kddoctor.bench.data import find
from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task

TEACHER, TRANSFER, HELD_OUT, CHANNELS = 12_000, 300, 1200, 8
SIDE = 28


def load() -> Data:
    """12,000 images for the teacher, 300 of them for the student, 1,200 of the test set that neither sees."""
    images, labels = _read("train", TEACHER)
    return Data(
        TensorDataset(images, labels),
        TensorDataset(images[:TRANSFER], labels[:TRANSFER]),
        TensorDataset(*_read("t10k", HELD_OUT)),
    )


def _read(split: str, count: int) -> tuple[Tensor, Tensor]:
    """The first images [count, 1, 14, 14] and labels [count]; the files are in a random order already."""
    pixels = _bytes(f"{split}-images-idx3-ubyte.gz", 16, count * SIDE * SIDE)
    images = torch.from_numpy((pixels / 255).astype(np.float32)).reshape(count, 1, SIDE, SIDE)
    labels = torch.from_numpy(_bytes(f"{split}-labels-idx1-ubyte.gz", 8, count).astype(np.int64))
    return avg_pool2d(images, 2), labels


def _bytes(name: str, header: int, count: int) -> NDArray[np.uint8]:
    with gzip.open(find(f"fashion-mnist/{name}")) as file:
        return np.frombuffer(file.read(header + count), np.uint8, offset=header)


def shifted_and_mirrored(images: Tensor) -> Tensor:
    """Every image mirrored or not, and the batch moved by up to one pixel each way."""
    mirrored = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(-1), images)
    down, right = torch.randint(0, 3, (2,)).tolist()
    height, width = images.shape[-2:]
    return pad(mirrored, (1, 1, 1, 1))[..., down : down + height, right : right + width]


def make_teacher() -> nn.Module:
    """A CNN of 53,000 parameters with batch normalisation and dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(432, 96),
        nn.ReLU(),
        nn.Linear(96, 10),
    )


def make_student(width: float = 1.0) -> nn.Module:
    """A CNN of eight and sixteen channels that halves the image twice."""
    thin, thick = max(1, round(CHANNELS * width)), max(1, round(2 * CHANNELS * width))
    return nn.Sequential(
        nn.Conv2d(1, thin, 5, stride=2, padding=2),
        nn.BatchNorm2d(thin),
        nn.ReLU(),
        nn.Conv2d(thin, thick, 3, stride=2, padding=1),
        nn.BatchNorm2d(thick),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * thick, 10),
    )


TASK = Task(
    name="clothes",
    kind="multiclass",
    seen=False,
    classes=10,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=3.0,
        alpha=0.85,
        epochs=50,
        batch_size=50,
        optimizer="adam",
        learning_rate=0.01,
        schedule="cosine",
        teacher=TeacherRecipe(epochs=10, batch_size=64, learning_rate=3e-3),
    ),
    layers={"teacher": ("10",), "student": ("6",)},
    augment=shifted_and_mirrored,
)
