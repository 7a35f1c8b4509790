"""What a record says of the student's weights and of its optimizer's steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import spectral_norm

from kddoctor.run import load
from kddoctor.run.observations import Observations
from kddoctor.run.recording.weights_in_use import weights_in_use
from tests.run.distillation import Distillation

#: A bias in front of a normalisation, which takes it out again: its gradient is rounding.
NORMALISED = ["0.bias"]


def observed(path: Path, distillation: Distillation, steps: int = 2) -> Observations:
    with distillation.record(path / "run") as run:
        distillation.train_for(steps, run)
    return load(path / "run").observations


def test_parameters_that_come_back_to_where_they_began_are_named_however_that_comes_about(tmp_path: Path) -> None:
    distillation = Distillation()
    first = distillation.student[0]
    began = first.weight.detach().clone()
    distillation.optimizer.register_step_post_hook(lambda *_: first.weight.data.copy_(began))
    seen = observed(tmp_path, distillation)
    assert seen.parameters_without_gradient == []
    assert seen.parameters_unmoved == ["0.weight", *NORMALISED]
    assert seen.parameters_moved == 4


def test_in_a_sound_loop_every_parameter_moves_and_no_weight_is_nothing(tmp_path: Path) -> None:
    seen = observed(tmp_path, Distillation())
    assert seen.parameters_unmoved == NORMALISED
    assert seen.student_zeros == 0.0
    assert seen.updates is not None
    assert (seen.updates.all, seen.updates.empty) == (14, 0)
    assert seen.weight_decay == 0.0


def test_steps_at_which_nothing_has_a_gradient_are_counted(tmp_path: Path) -> None:
    distillation = Distillation()
    calls = iter(range(1000))

    def cleared(*_: object) -> None:
        if next(calls) % 4 != 3:
            distillation.optimizer.zero_grad()

    distillation.optimizer.register_step_pre_hook(cleared)
    seen = observed(tmp_path, distillation, 4)
    assert seen.updates is not None
    assert (seen.updates.all, seen.updates.empty) == (28, 21)


def test_an_interrupted_record_remembers_how_the_student_began(tmp_path: Path) -> None:
    first, later = Distillation(), Distillation()
    began = later.record(tmp_path / "first")
    first_run = first.record(tmp_path / "other")
    first.train_for(1, first_run)
    state = first_run.state_dict()
    later.student.load_state_dict(first.student.state_dict())
    began.load_state_dict(state)
    first_run.finish()
    began.finish()
    seen = load(tmp_path / "first").observations
    assert seen.parameters_unmoved == NORMALISED
    assert seen.updates is not None
    assert seen.updates.all == 7


class Dropped(nn.Module):
    """Draws which weights a layer uses, as DropConnect does."""

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.dropout(weight, 0.3, self.training)


@pytest.mark.parametrize("way", ["spectral norm", "drawn weights"])
def test_weights_that_are_computed_on_the_way_are_looked_at_without_a_trace(tmp_path: Path, way: str) -> None:
    def trained(folder: Path | None) -> dict[str, Tensor]:
        distillation = Distillation()
        head = distillation.student[5]
        if way == "spectral norm":
            spectral_norm(head)
        else:
            parametrize.register_parametrization(head, "weight", Dropped())
        distillation.optimizer = torch.optim.SGD(distillation.student.parameters(), lr=0.05)
        torch.manual_seed(1)
        if folder is None:
            distillation.train_for(3)
        else:
            with distillation.record(folder / "run", checkpoint_seconds=0.0) as run:
                distillation.train_for(3, run)
        return distillation.student.state_dict()

    alone, recorded = trained(None), trained(tmp_path)
    assert alone.keys() == recorded.keys()
    assert all(torch.equal(alone[name], recorded[name]) for name in alone)


class Signs(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.sign()


def test_weights_are_counted_as_layers_use_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 20), nn.LSTM(4, 4))
    prune.random_unstructured(model[0], "weight", 0.75)
    parametrize.register_parametrization(model[2], "weight", Signs())
    found = dict(weights_in_use(model))
    assert list(found) == ["0.weight", "2.weight", "3.weight_ih_l0", "3.weight_hh_l0"]
    assert float((found["0.weight"] == 0).double().mean()) == pytest.approx(0.75)
    assert len(found["2.weight"].unique()) == 2


def test_a_pruned_student_is_recorded_with_its_share_of_zeros(tmp_path: Path) -> None:
    distillation = Distillation()
    for layer in (distillation.student[0], distillation.student[5]):
        prune.random_unstructured(layer, "weight", 0.9)
    distillation.optimizer = torch.optim.SGD(distillation.student.parameters(), lr=0.05)
    seen = observed(tmp_path, distillation)
    assert seen.student_zeros == pytest.approx(0.9, abs=0.02)
