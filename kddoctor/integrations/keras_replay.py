"""A model's own train_step, run once more on a batch of the recorder's, and everything put back afterwards.

Keras compiles train_step where the backend can, and hands its callbacks no batch. So the recorder runs it a second
time, outside of the compiled function, where every tensor has a value: the very code of the user's loss, on the weights
of this moment. Nothing in here asks which backend that is: a train_step takes the data alone (torch, TensorFlow), or
before them the values of the variables (JAX).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import torch

from kddoctor.run.arrays import Array
from kddoctor.run.recording.undisturbed import random_states, restore_random_states


@dataclass
class Calls:
    """What a model was given and answered, and whether it was asked to train."""

    inputs: list[Array] = field(default_factory=list)
    answers: list[Array] = field(default_factory=list)
    trained: bool = False


@dataclass(frozen=True)
class Replay:
    """One step. logs: the numbers that train_step returned, of this batch alone. teacher_check: evaluation mode."""

    student: Calls
    teacher: Calls
    logs: Mapping[str, float]
    teacher_check: Array


def replay(model: Any, student: Any, teacher: Any, batch: tuple[Any, ...]) -> Replay:
    """Run ``model.train_step`` on (x, y), and leave every variable and random state as it was.

    Raises what train_step raises.
    """
    data = tuple(keras.tree.map_structure(keras.ops.convert_to_tensor, part) for part in batch)
    with unchanged(model, student, teacher), ExitStack() as stack:
        check = predicted(teacher, batch[0])
        of_student, of_teacher = (stack.enter_context(_heard(each)) for each in (student, teacher))
        model.reset_metrics()
        logs = _run_train_step(model, data)
        numbers = {name: as_numpy(value) for name, value in logs.items() if not isinstance(value, Mapping)}
        found = {name: float(value) for name, value in numbers.items() if value.size == 1}
        return Replay(of_student, of_teacher, found, check)


def _run_train_step(model: Any, data: tuple[Any, ...]) -> Mapping[str, Any]:
    """The logs of one step. Where variables are not changed in place, train_step takes their values and returns new
    ones, which nobody needs.
    """
    if len(inspect.signature(model.train_step).parameters) < 2:
        return model.train_step(data)  # type: ignore[no-any-return]
    held = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    logs, _ = model.train_step(tuple([variable.value for variable in each] for each in held), data)
    return logs  # type: ignore[no-any-return]


def predicted(model: Any, inputs: Any) -> Array:
    """The model's answers in evaluation mode."""
    answers = model(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs), training=False)
    return _first(answers)


def _first(structure: Any) -> Array:
    """The first tensor's value, copied: the backend may write over it.

    Some backends have a value only for what no gradient flows through.
    """
    return as_numpy(keras.ops.stop_gradient(keras.tree.flatten(structure)[0])).copy()


def as_numpy(value: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(value))


@contextmanager
def unchanged(*models: Any) -> Iterator[None]:
    """Put back weights, optimizers, metrics, seeds and random states of these models at the end.

    And what a train_step that gathers gradients over several batches goes by: those that the backend keeps beside the
    weights, and plain numbers among the models' attributes, which count the batches.
    """
    states = random_states()
    variables = _variables(models)
    kept = [(variable, as_numpy(variable).copy(), _gathered(variable)) for variable in variables]
    counts = [(model, _numbers(model)) for model in models]
    try:
        yield
    finally:
        for variable, value, gradient in kept:
            variable.assign(value)
            if isinstance(variable.value, torch.Tensor):
                variable.value.grad = gradient
        for model, numbers in counts:
            for name in _numbers(model).keys() - numbers.keys():
                del vars(model)[name]  # its class says where it starts
            vars(model).update(numbers)
        restore_random_states(states)


def _numbers(model: Any) -> dict[str, float]:
    """Of the model itself; those that its class gives stand there, and not on the model, until they are changed."""
    held = vars(model).items()
    return {name: value for name, value in held if type(value) in (bool, int, float)}


def _gathered(variable: Any) -> torch.Tensor | None:
    gradient = variable.value.grad if isinstance(variable.value, torch.Tensor) else None
    return None if gradient is None else gradient.clone()


def optimizers_of(model: Any) -> list[Any]:
    """The compiled optimizer, and those that a custom model keeps as attributes."""
    held = [getattr(model, "optimizer", None), *vars(model).values()]
    return list({id(each): each for each in held if isinstance(each, keras.optimizers.Optimizer)}.values())


def _variables(models: tuple[Any, ...]) -> list[Any]:
    # "variables" holds the states of seed generators, too, which "weights" leaves out.
    found = [variable for model in models for variable in (*model.variables, *getattr(model, "metrics_variables", ()))]
    found += [variable for model in models for each in optimizers_of(model) for variable in each.variables]
    found += _global_seed()
    return list({id(variable): variable for variable in found}.values())


def _global_seed() -> list[Any]:
    """The state behind ``keras.random`` without a seed; Keras gives no public way to it."""
    try:
        from keras.src.random.seed_generator import global_seed_generator
    except ImportError:
        return []
    return [global_seed_generator().state]


@contextmanager
def _heard(model: Any) -> Iterator[Calls]:
    """Listen to the model's ``call`` as it is called, by whomever."""
    calls, original = Calls(), model.call

    def listening(*args: Any, **kwargs: Any) -> Any:
        answer = original(*args, **kwargs)
        calls.trained = calls.trained or bool(kwargs.get("training"))
        calls.inputs.append(_first(args or tuple(kwargs.values())))
        calls.answers.append(_first(answer))
        return answer

    own = vars(model).get("call")  # some users replace it as well
    # Past Keras' own __setattr__, which looks for layers and variables to track.
    object.__setattr__(model, "call", listening)
    try:
        yield calls
    finally:
        object.__setattr__(model, "call", own) if own is not None else object.__delattr__(model, "call")
