"""Handwritten digits: a convolutional teacher, a perceptron as the student. Data: scikit-learn's load_digits."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task

HELD_OUT, TRANSFER, HIDDEN = 600, 250, 20


def load() -> Data:
    """1,197 images for the teacher, 250 of them for the student, 600 that neither sees."""
    digits = load_digits()
    images = torch.from_numpy((digits.images / 16).astype(np.float32))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, val = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, random_state=3, stratify=labels)
    few = train[:TRANSFER]
    return Data(*(TensorDataset(images[rows], labels[rows]) for rows in (train, few, val)))


def make_teacher() -> nn.Module:
    """A CNN of 24,000 parameters with batch normalisation and dropout."""
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


def make_student(width: float = 1.0) -> nn.Module:
    """A perceptron with one hidden layer."""
    hidden = max(1, round(HIDDEN * width))
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


TASK = Task(
    name="digits",
    kind="multiclass",
    seen=True,
    classes=10,
    load=load,
    make_teacher=make_teacher,
    make_student=make_student,
    recipe=Recipe(
        temperature=4.0,
        alpha=0.9,
        epochs=50,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.05,
        teacher=TeacherRecipe(epochs=25),
    ),
    layers={"teacher": ("2", "5", "10"), "student": ("2",)},
)
