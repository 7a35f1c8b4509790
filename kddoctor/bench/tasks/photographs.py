"""The part of two photographs that a patch was cut from, in colour: a CNN, and a thin one as the student.

Data: the sample images of scikit-learn.
"""

from collections.abc import Collection, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task

#: Parts of each photograph, from top to bottom and from left to right, and parts in all.
DOWN, ACROSS, PARTS = 2, 3, 12
#: A part is a mosaic of blocks in four colours; a patch lies within one block, so patches of two colours never overlap.
BLOCK, PATCH, COLOURS = 14, 12, 4
TEACHER_COLOURS, TRANSFER_COLOURS, HELD_OUT_COLOURS = (0, 1), (2,), (3,)
TEACHER, TRANSFER, HELD_OUT, CHANNELS = 8000, 400, 1200, 16


def load() -> Data:
    """8,000 patches for the teacher; of other blocks, 400 for the student and 1,200 for neither."""
    parts = [part for photograph in load_sample_images().images for part in _parts(photograph)]
    rng = np.random.default_rng(3)
    return Data(
        _patches(parts, TEACHER_COLOURS, TEACHER, rng),
        _patches(parts, TRANSFER_COLOURS, TRANSFER, rng),
        _patches(parts, HELD_OUT_COLOURS, HELD_OUT, rng),
    )


def _parts(photograph: NDArray[np.uint8]) -> list[Tensor]:
    """[H, W, 3] to six of [3, h, w], at half the size and with values between 0 and 1."""
    image = avg_pool2d(torch.from_numpy((photograph / 255).astype(np.float32)).permute(2, 0, 1), 2)
    high, wide = image.shape[1] // DOWN, image.shape[2] // ACROSS
    corners = product(range(0, DOWN * high, high), range(0, ACROSS * wide, wide))
    return [image[:, top : top + high, left : left + wide] for top, left in corners]


def _patches(parts: Sequence[Tensor], colours: Collection[int], count: int, rng: np.random.Generator) -> TensorDataset:
    """[count, 3, 12, 12] patches out of blocks of these colours, and [count] the part that each comes from."""
    labels = rng.permutation(np.arange(count) % PARTS)
    patches = torch.stack([_patch(parts[label], colours, rng) for label in labels])
    return TensorDataset(patches, torch.from_numpy(labels))


def _patch(part: Tensor, colours: Collection[int], rng: np.random.Generator) -> Tensor:
    """[3, 12, 12], anywhere in any block of these colours."""
    places = product(*(range(side // BLOCK) for side in part.shape[1:]))
    blocks = [place for place in places if (place[0] + 2 * place[1]) % COLOURS in colours]
    row, column = blocks[rng.integers(len(blocks))]
    down, right = rng.integers(BLOCK - PATCH + 1, size=2).tolist()
    top, left = BLOCK * row + down, BLOCK * column + right
    return part[:, top : top + PATCH, left : left + PATCH]


def mirrored(patches: Tensor) -> Tensor:
    """Every patch mirrored or not, and upside down or not."""
    across, down = torch.rand(2, len(patches), 1, 1, 1) < 0.5
    patches = torch.where(across, patches.flip(-1), patches)
    return torch.where(down, patches.flip(-2), patches)


def make_teacher() -> nn.Module:
    """A CNN of 40,000 parameters with batch normalisation, the mean over all places, and dropout."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, PARTS),
    )


def make_student(width: float = 1.0) -> nn.Module:
    """A CNN of 16 and 32 channels that halves the patch twice."""
    thin, thick = max(1, round(CHANNELS * width)), max(1, round(2 * CHANNELS * width))
    return nn.Sequential(
        nn.Conv2d(3, thin, 3, stride=2, padding=1),
        nn.BatchNorm2d(thin),
        nn.ReLU(),
        nn.Conv2d(thin, thick, 3, stride=2, padding=1),
        nn.BatchNorm2d(thick),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(9 * thick, PARTS),
    )


TASK = Task(
    name="photographs",
    kind="multiclass",
    seen=True,
    classes=PARTS,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=2.0,
        alpha=0.95,
        epochs=120,
        batch_size=64,
        optimizer="adamw",
        learning_rate=0.014,
        weight_decay=0.1,
        schedule="cosine",
        teacher=TeacherRecipe(epochs=8, batch_size=64, learning_rate=3e-3),
    ),
    layers={"teacher": ("11",), "student": ("6",)},
    augment=mirrored,
)
