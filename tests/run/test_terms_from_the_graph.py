"""Of a loss that is handed over as one number, the distillation and feature terms are found where they are certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kddoctor.run import load
from kddoctor.run.recording.pickup import root_of
from kddoctor.run.recording.watch import ModelWatch
from tests.run.distillation import Distillation

T, ALPHA, ROWS, CLASSES = 4.0, 0.7, 8, 6


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(5, 7), nn.ReLU()), nn.Linear(7, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        self.features = self.body(inputs)
        return self.head(self.features)


class Step:
    """One training step's tensors, and the terms of its loss."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.student, self.projector = Student(), nn.Linear(7, 9)
        self.watch = ModelWatch(self.student, on_error=_raise)
        self.s = self.student(torch.randn(ROWS, 5))
        self.t, self.y = 3 * torch.randn(ROWS, CLASSES), torch.randint(CLASSES, (ROWS,))
        self.hint = torch.randn(ROWS, 9)

    def kl(self, temperature: float = T) -> Tensor:
        q, p = F.log_softmax(self.s / temperature, 1), F.softmax(self.t / temperature, 1)
        return F.kl_div(q, p, reduction="batchmean")

    def written_out(self) -> Tensor:
        p, log_p = F.softmax(self.t / T, -1), F.log_softmax(self.t / T, -1)
        return (p * (log_p - F.log_softmax(self.s / T, -1))).sum(-1).mean()

    def soft_cross_entropy(self) -> Tensor:
        return -(F.softmax(self.t / T, -1) * F.log_softmax(self.s / T, -1)).sum(-1).mean()

    @property
    def ce(self) -> Tensor:
        return F.cross_entropy(self.s, self.y)

    @property
    def feature(self) -> Tensor:
        return F.mse_loss(self.projector(self.student.features), self.hint)

    def found(self, loss: Tensor) -> dict[str, float]:
        return dict(root_of(loss, self.watch.calls, self.student).terms)


def _raise(error: Exception) -> None:
    raise error


Loss = Callable[[Step], Tensor]

#: (the loss as loops write it, the distillation term in it)
CERTAIN: dict[str, tuple[Loss, Loss]] = {
    "weights that sum to one": (lambda x: ALPHA * (x.kl() * T**2) + (1 - ALPHA) * x.ce, lambda x: x.kl() * T**2),
    "all numbers first": (lambda x: ALPHA * T**2 * x.kl() + (1 - ALPHA) * x.ce, lambda x: x.kl() * T**2),
    "temperature twice": (lambda x: x.kl() * ALPHA * T * T + x.ce * (1 - ALPHA), lambda x: x.kl() * T**2),
    "no T squared": (lambda x: ALPHA * x.kl() + (1 - ALPHA) * x.ce, lambda x: x.kl()),
    "T and not T squared": (lambda x: ALPHA * (x.kl() * T) + (1 - ALPHA) * x.ce, lambda x: x.kl() * T),
    "a half each": (lambda x: (x.kl() * T**2 + x.ce) / 2, lambda x: x.kl() * T**2),
    "no weights": (lambda x: x.kl(1.0) + x.ce, lambda x: x.kl(1.0)),
    "T squared alone": (lambda x: x.ce + x.kl() * T**2, lambda x: x.kl() * T**2),
    "a weight beside T squared": (lambda x: x.ce + 0.3 * x.kl() * T**2, lambda x: x.kl() * T**2),
    "no labels": (lambda x: x.kl() * T**2, lambda x: x.kl() * T**2),
    "written out": (lambda x: ALPHA * T**2 * x.written_out() + (1 - ALPHA) * x.ce, lambda x: x.written_out() * T**2),
    "soft cross-entropy": (
        lambda x: (1 - ALPHA) * x.ce + ALPHA * x.soft_cross_entropy(),
        lambda x: x.soft_cross_entropy(),
    ),
    "probabilities as targets": (
        lambda x: ALPHA * F.cross_entropy(x.s / T, F.softmax(x.t / T, 1)) + (1 - ALPHA) * x.ce,
        lambda x: x.soft_cross_entropy(),
    ),
    "squared error of logits": (
        lambda x: 0.9 * F.mse_loss(x.s, x.t) + 0.1 * x.ce,
        lambda x: F.mse_loss(x.s, x.t),
    ),
    "mean over classes": (
        lambda x: (
            ALPHA * F.kl_div(F.log_softmax(x.s / T, 1), F.softmax(x.t / T, 1), reduction="none").mean() * T**2
            + (1 - ALPHA) * x.ce
        ),
        lambda x: x.kl() * T**2 / CLASSES,
    ),
    "under a gradient scaler": (
        lambda x: torch.tensor(65536.0) * (ALPHA * (x.kl() * T**2) + (1 - ALPHA) * x.ce),
        lambda x: x.kl() * T**2,
    ),
    "accumulated": (lambda x: (ALPHA * (x.kl() * T**2) + (1 - ALPHA) * x.ce) / 4, lambda x: x.kl() * T**2),
    "with features": (
        lambda x: ALPHA * (x.kl() * T**2) + (1 - ALPHA) * x.ce + 10 * x.feature,
        lambda x: x.kl() * T**2,
    ),
}


@pytest.mark.parametrize("case", CERTAIN)
def test_the_distillation_term_is_what_enters_the_total_before_its_weight(case: str) -> None:
    total, term = CERTAIN[case]
    step = Step()
    assert step.found(total(step))["kd_loss"] == pytest.approx(float(term(step).detach()), rel=2e-5)


def _onehot(step: Step) -> Tensor:
    return F.one_hot(step.y, CLASSES).float()


#: Losses of which nobody can tell what the distillation term is, or whether there is one.
UNCERTAIN: dict[str, Loss] = {
    "a weight or a half of T squared": lambda x: x.ce + 0.5 * x.kl(),
    "labels alone": lambda x: x.ce,
    "smoothed labels": lambda x: F.cross_entropy(x.s, x.y, label_smoothing=0.1),
    "smoothed labels written out": lambda x: (
        0.5 * x.ce - 0.5 * ((_onehot(x) * 0.9 + 0.1 / CLASSES) * F.log_softmax(x.s, 1)).sum(1).mean()
    ),
    "a penalty on confidence": lambda x: 0.9 * x.ce + 0.1 * (F.softmax(x.s, 1) * F.log_softmax(x.s, 1)).sum(1).mean(),
    "decay of logits": lambda x: 0.9 * x.ce + 0.1 * (x.s**2).mean(),
    "two teachers' terms": lambda x: 0.5 * x.ce + 0.25 * x.kl() * T**2 + 0.25 * F.mse_loss(x.s, x.t),
    "a number that was added": lambda x: ALPHA * x.kl() * T**2 + (1 - ALPHA) * x.ce + 2.0,
    "weights of rows": lambda x: (torch.rand(ROWS) * F.cross_entropy(x.s, x.y, reduction="none")).mean() + x.kl(),
    "a learnt weight": lambda x: torch.exp(-nn.Parameter(torch.zeros(()))) * x.kl() + x.ce,
    "a term of another form on features": lambda x: (
        ALPHA * (x.kl() * T**2) + (1 - ALPHA) * x.ce + x.student.features.abs().mean()
    ),
}


@pytest.mark.parametrize("case", UNCERTAIN)
def test_where_another_reading_is_possible_there_is_no_answer(case: str) -> None:
    step = Step()
    assert not {"kd_loss", "feature_loss"} & step.found(UNCERTAIN[case](step)).keys()


def test_a_feature_term_is_what_reaches_the_student_and_not_its_logits() -> None:
    step = Step()
    total = ALPHA * (step.kl() * T**2) + (1 - ALPHA) * step.ce + 10 * step.feature
    assert step.found(total)["feature_loss"] == pytest.approx(float(step.feature.detach()), rel=1e-6)
    apart = F.mse_loss(step.projector(torch.randn(ROWS, 7)), step.hint)
    assert "feature_loss" not in step.found(ALPHA * (step.kl() * T**2) + (1 - ALPHA) * step.ce + apart)


@pytest.mark.parametrize(("when", "handed"), [("before backward", True), ("after optimizer", False)])
def test_a_plain_loop_that_hands_no_terms_over_has_them(tmp_path: Any, when: str, handed: bool) -> None:
    left_out = ("kd_loss", "ce_loss") if handed else ("kd_loss", "ce_loss", "loss", "labels", "student_logits")
    for name, damage in (("whole", {}), ("bare", dict.fromkeys(left_out))):
        loop = Distillation()
        with loop.record(tmp_path / name) as run:
            loop.train_for(2, run, when, damage=damage)
    whole, bare = (load(tmp_path / name).steps for name in ("whole", "bare"))
    assert whole is not None
    assert bare is not None
    known = {int(step): k for k, step in enumerate(whole.step)}
    rows = [known[int(step)] for step in bare.step]
    assert len(rows) >= whole.count - 1, "only the first step goes by unseen"
    for name in ("loss", "kd_loss", "ce_loss"):
        assert getattr(bare, name) == pytest.approx(getattr(whole, name)[rows], rel=1e-5), name
