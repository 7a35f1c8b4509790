"""Sound set-ups of every task pass, quickly, and nothing of theirs is changed."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import kddoctor
from tests.preflight.setups import sound

TASKS = ("multiclass", "binary", "ranking", "multilabel", "tokens")


@pytest.mark.parametrize("task", TASKS)
def test_a_sound_set_up_passes_every_check(task):
    found = kddoctor.preflight(**sound(task))
    assert [str(check) for check in found.checks if check.status != "ok"] == []
    assert found.ok
    found.raise_if_bad()


@pytest.mark.parametrize("seed", range(3))
def test_another_seed_of_the_student_passes_too(seed):
    torch.manual_seed(seed)
    setup = sound()
    for module in setup["student"].modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    found = kddoctor.preflight(**setup)
    assert found.ok, str(found)


def test_it_takes_seconds_of_one_core():
    setup = sound()
    start = time.process_time()
    kddoctor.preflight(**setup)
    assert time.process_time() - start < 15


def test_the_same_set_up_gives_the_same_bytes():
    assert kddoctor.preflight(**sound()).to_json() == kddoctor.preflight(**sound()).to_json()


def everything(setup: dict[str, Any]) -> dict[str, Any]:
    """All that could be changed, as plain values."""
    state: dict[str, Any] = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "python": random.getstate(),
        "hooks": [len(setup["optimizer"]._optimizer_step_pre_hooks)],
        "optimizer": repr(setup["optimizer"].state_dict()),
    }
    for role in ("teacher", "student"):
        model = setup[role]
        state[f"{role} modes"] = [module.training for module in model.modules()]
        state[f"{role} hooks"] = [len(module._forward_pre_hooks) for module in model.modules()]
        state[f"{role} values"] = {name: value.tolist() for name, value in model.state_dict().items()}
        state[f"{role} gradients"] = [
            (p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in model.parameters()
        ]
    return state


@pytest.mark.parametrize("student_mode", [True, False])
def test_modes_gradients_weights_and_random_states_are_as_before(student_mode):
    setup = sound()
    setup["teacher"][3].train()
    setup["student"].train(student_mode)
    next(setup["student"].parameters()).grad = torch.ones_like(next(setup["student"].parameters()))
    before = everything(setup)
    kddoctor.preflight(**setup)
    assert everything(setup) == before


def test_a_loader_that_is_being_iterated_goes_on_where_it_was():
    setup = sound()
    loader = DataLoader(setup["train_data"], 16, shuffle=True, generator=torch.Generator().manual_seed(0))
    expected = [labels.tolist() for _, labels in loader]
    loader.generator.manual_seed(0)
    batches = iter(loader)
    seen = [next(batches)[1].tolist() for _ in range(3)]
    kddoctor.preflight(**{**setup, "train_data": loader})
    assert seen + [labels.tolist() for _, labels in batches] == expected


def test_rows_sorted_by_class_are_looked_at_from_end_to_end():
    setup = sound()
    inputs, labels = setup["val_data"].tensors
    order = labels.argsort()
    found = kddoctor.preflight(**{**setup, "val_data": (inputs[order], labels[order])}, examples=60)
    assert found.ok, str(found)


def rows_run(seconds: float) -> int:
    """Through a teacher that takes four milliseconds a row."""
    setup, rows = sound(), []

    def wait(module: object, inputs: tuple[torch.Tensor], output: object) -> None:
        rows.append(len(inputs[0]))
        time.sleep(0.004 * len(inputs[0]))

    setup["teacher"].register_forward_hook(wait)
    found = kddoctor.preflight(**setup, seconds=seconds)
    assert found.ok, str(found)
    return sum(rows)


def test_a_slow_model_gets_fewer_rows():
    assert rows_run(seconds=1) < 0.5 * rows_run(seconds=60)
