"""KD101: the teacher's checkpoint was never applied."""

import re
from dataclasses import replace

import torch
from torch import Tensor, nn

from kddoctor.bench.fault import Fault, Level
from kddoctor.bench.recipe import Recipe, eval_and_freeze
from kddoctor.bench.session import Session


def prefixed_keys(recipe: Recipe, _level: Level) -> Recipe:
    """A checkpoint saved from a DataParallel wrapper, loaded with strict=False: no key matches."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        saved = {f"module.{name}": value for name, value in state.items()}
        teacher.load_state_dict(saved, strict=False)

    return replace(recipe, load_teacher=load_teacher)


def initialised_after_loading(recipe: Recipe, _level: Level) -> Recipe:
    """The script's own weight initialisation runs over all modules after the checkpoint was loaded."""

    def before(session: Session) -> None:
        torch.manual_seed(session.seed + 31)
        for module in session.teacher.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        eval_and_freeze(session)

    return replace(recipe, before=before)


def head_of_another_name(recipe: Recipe, _level: Level) -> Recipe:
    """The code's head was renamed since the checkpoint was saved: strict=False loads the backbone alone."""

    def load_teacher(teacher: nn.Module, state: dict[str, Tensor]) -> None:
        head = [name for name, module in teacher.named_modules() if [*module.parameters(recurse=False)]][-1]
        saved = {re.sub(rf"^{re.escape(head)}\.", "classifier.", name): value for name, value in state.items()}
        teacher.load_state_dict(saved, strict=False)

    return replace(recipe, load_teacher=load_teacher)


FAULT = Fault("KD101", seen=(prefixed_keys,), unseen=(initialised_after_loading, head_of_another_name), knob=False)
