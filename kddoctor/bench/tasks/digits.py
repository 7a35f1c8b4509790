"""Handwritten digits with the demo's models, other rows and another size. Data: scikit-learn's load_digits."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe, TeacherRecipe
from kddoctor.bench.task import Data, Task
from kddoctor.demo import recipe

HELD_OUT, TRANSFER, HIDDEN = 600, 250, 20


def load() -> Data:
    """1,197 images for the teacher, 250 of them for the student, 600 that neither sees."""
    digits = load_digits()
    images = torch.from_numpy((digits.images / 16).astype(np.float32))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, val = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, random_state=3, stratify=labels)
    few = train[:TRANSFER]
    return Data(*(TensorDataset(images[rows], labels[rows]) for rows in (train, few, val)))


def make_student(width: float = 1.0) -> nn.Module:
    """A perceptron with one hidden layer."""
    return recipe.make_student(max(1, round(HIDDEN * width)))


TASK = Task(
    name="digits",
    kind="multiclass",
    seen=True,
    classes=10,
    load=load,
    make_teacher=recipe.make_teacher,
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
