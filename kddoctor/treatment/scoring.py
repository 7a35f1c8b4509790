"""How a student in training does on held-out rows, in the metric that the diagnosis uses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kddoctor.engine.outcome import area_under_roc
from kddoctor.engine.reading import binary_like
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.run.labels import IGNORED
from kddoctor.run.manifest import Manifest
from kddoctor.treatment.training import answer, choices

Batches = Callable[[], Iterator[tuple[Any, Tensor]]]


@dataclass(frozen=True)
class Score:
    """value: area under the ROC curve for questions of yes or no, accuracy for the rest. rows: those that count."""

    metric: str
    value: float
    accuracy: float
    agreement: float
    rows: int

    def clearly_above(self, other: "Score") -> bool:
        """By more than the noise of a difference explains, rows taken as unpaired."""
        return self.value - other.value > noise_of_difference(standard_error(self.value, self.rows))


class TeacherAnswers:
    """What a frozen teacher chooses in batches that come in the same order every time: it is asked once.

    It is the larger model, and asking it after every epoch takes most of the time of a short one.
    """

    def __init__(self, teacher: Callable[[Any], Tensor]) -> None:
        """teacher: from inputs to logits."""
        self._teacher = teacher
        self._kept: list[Tensor] = []

    def __call__(self, number: int, inputs: Any, labels: Tensor) -> Tensor:
        """Shaped as the labels. number: of the batch, from 0."""
        if number == len(self._kept):
            self._kept.append(choices(self._teacher(inputs), labels))
        return self._kept[number]


def score(manifest: Manifest, batches: Batches, student: nn.Module, teacher: TeacherAnswers) -> Score:
    """The student, put into evaluation mode, on batches of (inputs, labels)."""
    student.eval()
    return score_of(manifest, batches, lambda inputs: answer("student", student, inputs), teacher)


@torch.no_grad()
def score_of(manifest: Manifest, batches: Batches, model: Callable[[Any], Tensor], teacher: TeacherAnswers) -> Score:
    """As ``score``, of whatever makes logits of inputs."""
    right = same = count = 0
    truth: list[Tensor] = []
    scores: list[Tensor] = []
    for number, (inputs, labels) in enumerate(batches()):
        logits = model(inputs)
        answers, taught = choices(logits, labels), teacher(number, inputs, labels)
        counts = labels != IGNORED
        right += int((answers == labels)[counts].sum())
        same += int((answers == taught)[counts].sum())
        count += int(counts.sum())
        if binary_like(manifest):
            truth.append(labels.reshape(len(labels), -1))
            scores.append(logits.reshape(len(labels), -1))
    accuracy, agreement = right / max(1, count), same / max(1, count)
    area = area_under_roc(torch.cat(truth).numpy(), torch.cat(scores).nan_to_num().numpy()) if truth else None
    if area is None:
        return Score("accuracy", accuracy, accuracy, agreement, count)
    return Score("auc", area, accuracy, agreement, sum(len(rows) for rows in truth))


@torch.no_grad()
def accuracy_of(answers: Callable[[Any], Tensor], batches: Batches) -> float:
    """Share of rows that count on which a model is right."""
    right = count = 0
    for inputs, labels in batches():
        counts = labels != IGNORED
        right += int((choices(answers(inputs), labels) == labels)[counts].sum())
        count += int(counts.sum())
    return right / max(1, count)
