"""What every training of the run's own models shares: seeds, batches in order, and errors of one line."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from kddoctor.errors import RunError
from kddoctor.run.labels import allowed_labels
from kddoctor.run.manifest import MANIFEST_FILE, Manifest
from kddoctor.run.recording.calling import forward

#: epoch finished, epochs in all, accuracy on held-out rows
Progress = Callable[[int, int, float], None]


def seed_everything(number: int) -> None:
    """Every generator that a data set or a model may draw from."""
    number %= 2**32
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def seed_epoch(seed: int, epoch: int) -> None:
    """Order, augmentation and dropout depend on seed and epoch alone: a resumed epoch is what it would have been."""
    seed_everything(seed * 1_000_003 + epoch + 1)


def shuffled_loader(data: Dataset[Any], size: int) -> DataLoader[Any]:
    """Shuffled; a last batch of one row is left out, since batch normalisation cannot learn from it."""
    rows = len(data)  # type: ignore[arg-type]
    return DataLoader(data, size, shuffle=True, drop_last=rows > size and rows % size == 1)


def some_rows(data: Dataset[Any], rows: int) -> Dataset[Any]:
    """So many rows at most, drawn at random, the same ones every time."""
    there = len(data)  # type: ignore[arg-type]
    return Subset(data, torch.randperm(there, generator=torch.Generator().manual_seed(0))[:rows].tolist())


@contextlib.contextmanager
def users_code(key: str, expected: str) -> Iterator[None]:
    """What the run's own code raises, anything, becomes a RunError of one line."""
    try:
        yield
    except RunError:
        raise
    except (Exception, SystemExit) as error:
        raise RunError(
            MANIFEST_FILE, f"code.{key}", f"code that raises {type(error).__name__}: {error}", expected
        ) from None


def answer(key: str, model: nn.Module, inputs: Any) -> Tensor:
    """A model's logits for a batch of inputs: a tensor, a tuple of arguments, or a dict of them."""
    with users_code(key, "a module that takes a batch of the data"):
        return forward(model, inputs)


def transformed(transform: Callable[[Any], Any] | None, inputs: Any) -> Any:
    """A batch of the student's as the teacher takes it, by the run's own ``teacher_transform`` where it has one."""
    if transform is None:
        return inputs
    with users_code("teacher_transform", "a function from the student's inputs to the teacher's"):
        return transform(inputs)


def batches(manifest: Manifest, key: str, loader: Callable[[], DataLoader[Any]]) -> Iterator[tuple[Any, Tensor]]:
    """(inputs, labels) of each batch. Raises RunError where a label is none that the task can have.

    key: the reference under ``code`` that the data comes from.
    """
    may_be, allowed = allowed_labels(manifest.task, manifest.num_classes)
    expected = "a dataset of (input, label)"
    with users_code(key, expected):
        loaded = iter(loader())
    while True:
        with users_code(key, expected):
            try:
                inputs, labels = next(loaded)
            except StopIteration:
                return
            wrong = labels[~torch.as_tensor(may_be(labels.numpy()))]
        if len(wrong):
            raise RunError(MANIFEST_FILE, f"code.{key}", f"data with the label {wrong[0].item()}", allowed)
        yield inputs, labels


def choices(logits: Tensor, labels: Tensor) -> Tensor:
    """What the logits answer: the sign for questions of yes or no, the largest of several classes."""
    return (logits > 0).long() if logits.shape == labels.shape else logits.argmax(-1)
