"""Runs mdistiller's own ``tools/train.py``: ``python -m tests.importers.tools.mdistiller_trainer CHECKOUT ARGUMENTS``.

Around it stand in, for a machine without a GPU and without CIFAR-100: ``cuda``, which leaves things where they are, and
``torchvision``, whose CIFAR-100 holds some random images. Whatever is written, mdistiller writes.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

#: Rows of the training and of the test split, and the classes that occur.
TRAIN, TEST, CLASSES = 256, 64, 10


class Images(Dataset[tuple[Tensor, int]]):
    """In the place of ``torchvision.datasets.CIFAR100``."""

    def __init__(self, root: str, train: bool = True, **_: object) -> None:
        rows = TRAIN if train else TEST
        generator = torch.Generator().manual_seed(int(train))
        self.data = torch.rand(rows, 3, 32, 32, generator=generator)
        self.targets = torch.randint(CLASSES, (rows,), generator=generator).tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.data[index], self.targets[index]


class Unchanged(ModuleType):
    """In the place of ``torchvision.transforms``: every transformation leaves images as they are."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: lambda image: image


def stand_in() -> None:
    """Put the stand-ins in place."""
    torchvision, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    transforms = Unchanged("torchvision.transforms")
    datasets.CIFAR100 = Images  # type: ignore[attr-defined]
    datasets.ImageFolder = Dataset  # type: ignore[attr-defined]
    torchvision.datasets, torchvision.transforms = datasets, transforms  # type: ignore[attr-defined]
    for module in (torchvision, datasets, transforms):
        sys.modules[module.__name__] = module
    for kind in (Tensor, nn.Module):
        kind.cuda = lambda self, *_, **__: self  # type: ignore[assignment, method-assign]


def main(checkout: str, *arguments: str) -> None:
    script = Path(checkout) / "tools" / "train.py"
    stand_in()
    sys.path.insert(0, checkout)
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
