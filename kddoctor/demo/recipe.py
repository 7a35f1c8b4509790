"""The models and data of the demo: a small convolutional teacher, a tiny student, scikit-learn's handwritten digits.

A copy of this file is written into every run directory that the demo records, so that ``kddoctor treat`` can retrain
from it as from anyone's code. It needs nothing but torch, numpy and scikit-learn.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

HELD_OUT = 500
TRANSFER = 200
SPLIT_SEED = 7
HIDDEN = 16


def make_teacher() -> nn.Module:
    """A CNN of 24,000 parameters for 8x8 grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def make_student(hidden: int = HIDDEN) -> nn.Module:
    """A perceptron of 1,210 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def teacher_data() -> Dataset[tuple[Tensor, ...]]:
    """1,297 images with their labels, which the teacher was trained on."""
    return _digits(_rows()[0])


def train_data() -> Dataset[tuple[Tensor, ...]]:
    """The 200 of them that are left for the student: few enough that a good teacher helps."""
    return _digits(_rows()[0][:TRANSFER])


def val_data() -> Dataset[tuple[Tensor, ...]]:
    """500 images that neither model was trained on."""
    return _digits(_rows()[1])


def _rows() -> tuple[np.ndarray, np.ndarray]:
    labels = load_digits().target
    train, val = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=labels)
    return train, val


def _digits(rows: np.ndarray) -> TensorDataset:
    digits = load_digits()
    images = torch.from_numpy((digits.images[rows] / 16).astype(np.float32))[:, None]
    return TensorDataset(images, torch.from_numpy(digits.target[rows].astype(np.int64)))
