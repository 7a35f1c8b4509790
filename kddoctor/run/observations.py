"""observations.json: facts that the recorder saw in the live process."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError, field_validator

from kddoctor.errors import RunError, shown
from kddoctor.run.paths import read_text

OBSERVATIONS_FILE = "observations.json"
MAX_OBSERVATIONS_BYTES = 64 << 20


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class ParameterCounts(_Facts):
    """Number of scalar parameters of each model."""

    teacher: int | None = None
    student: int | None = None


class Latency(_Facts):
    """Median time of one forward pass of one batch, in milliseconds."""

    teacher: float | None = None
    student: float | None = None


class Baseline(_Facts):
    """A student or a model of the teacher's make, trained without a teacher. metric: what it reached, or its name."""

    metric: float | StrictStr | None = None
    epochs: int | None = None
    seed: int | None = None


class InputFacts(_Facts):
    """Statistics of all elements of the inputs of one place. zeros: share. shape: of one row."""

    rows: int | None = None
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    zeros: float | None = None
    shape: list[int] | None = None


class Reach(_Facts):
    """How many learnable tensors of each owner a loss depends on. in_total: whether it is part of the total."""

    student: int = 0
    teacher: int = 0
    other: int = 0
    in_total: bool | None = None


class Graph(_Facts):
    """What autograd's graph says of the total and its terms. not_in_optimizer: shapes of learnable tensors of neither
    model that the total depends on and no optimizer holds; trained_elsewhere: something else changes these.
    """

    loss: Reach | None = None
    kd_loss: Reach | None = None
    ce_loss: Reach | None = None
    feature_loss: Reach | None = None
    not_in_optimizer: list[list[int]] | None = None
    trained_elsewhere: StrictBool | None = None


class LastStep(_Facts):
    """The student's answers to its last training batch, then and after training."""

    agreement: float | None = None
    accuracy_then: float | None = None
    accuracy_after: float | None = None
    relative_difference: float | None = None


class DistinctValues(_Facts):
    """The student's weight with the fewest distinct values."""

    parameter: str | None = None
    distinct: int | None = None
    elements: int | None = None


class Updates(_Facts):
    """Steps of the optimizer, and those of them at which no parameter of the student had a gradient."""

    all: int | None = None
    empty: int | None = None


class RepeatedTargets(_Facts):
    """Pairs of steps of different inputs, one after the other, and those of them that had the same targets."""

    compared: int | None = None
    same: int | None = None


class AugmentedViews(_Facts):
    """The first training examples, drawn several times. random: whether they look different each time. agreement: mean
    share of two views of one example that get the same choice of a model; divergence: mean KL(mean of the views'
    probabilities ‖ view) in nats.
    """

    random: bool | None = None
    rows: int | None = None
    draws: int | None = None
    teacher_agreement: float | None = None
    teacher_divergence: float | None = None
    student_agreement: float | None = None
    student_divergence: float | None = None


class Recording(_Facts):
    """What kept the record from being whole. ended: the exception, or "exit" or "not yet", where the loop did not reach
    its end. max_megabytes, dropped: the bound on its size, and what was left out for it, in order.
    """

    ended: StrictStr | None = None
    max_megabytes: float | None = None
    dropped: list[StrictStr] | None = None


class Observations(_Facts):
    """Facts about the training process; None where nobody looked. Unknown keys are kept in model_extra.

    teacher_dropout_alone: nothing but dropout layers of it was in training mode. teacher_drift: largest ||change||
    / ||value|| of a teacher parameter or buffer over the run, which may be NaN. nonfinite_steps: numbers of steps
    whose loss was not finite, the first ones where there were many; or how many there were. same_inputs: of every
    recorded step, or one fact for each of them. grad_cosine_kd_ce: mean cosine between the gradients of the two
    loss terms. graph: what the loss depends on. inputs: statistics by place, loop_student, loop_teacher and the
    splits. parameters_changed_after_training: names of student parameters written to after the last optimizer step.
    frozen_parameters: of the student. student_dropout: the largest dropout rate of the student's modules.
    parameters_unmoved: names of student parameters that ended as they began; parameters_moved: how many did not.
    student_zeros: share of zeros in its weights. repeated_targets: of steps of different inputs. weight_decay: the
    largest of the optimizers. processes: that trained together; the first one's rows alone are in the record.
    recording: what kept the record from being whole.
    """

    teacher_training: StrictBool | None = None
    teacher_dropout_alone: StrictBool | None = None
    student_training_at_eval: StrictBool | None = None
    teacher_requires_grad: StrictBool | None = None
    teacher_drift: float | None = None
    parameters_not_in_optimizer: list[StrictStr] | None = None
    parameters_without_gradient: list[StrictStr] | None = None
    same_inputs: StrictBool | None = None
    missing_keys: list[StrictStr] | None = None
    unexpected_keys: list[StrictStr] | None = None
    nonfinite_steps: list[int] | int | None = None
    grad_cosine_kd_ce: float | None = None
    parameters: ParameterCounts | None = None
    latency_ms: Latency | None = None
    baseline: Baseline | None = None
    teacher_twin: Baseline | None = None
    graph: Graph | None = None
    inputs: dict[StrictStr, InputFacts] | None = None
    last_step: LastStep | None = None
    frozen_parameters: list[StrictStr] | None = None
    parameters_changed_after_training: list[StrictStr] | None = None
    student_distinct_values: DistinctValues | None = None
    student_dtypes: list[StrictStr] | None = None
    student_dropout: float | None = None
    parameters_unmoved: list[StrictStr] | None = None
    parameters_moved: int | None = None
    student_zeros: float | None = None
    updates: Updates | None = None
    repeated_targets: RepeatedTargets | None = None
    weight_decay: float | None = None
    augmented_views: AugmentedViews | None = None
    processes: int | None = None
    recording: Recording | None = None

    @field_validator("same_inputs", mode="before")
    @classmethod
    def _of_every_step(cls, value: object) -> object:
        """A list of facts, one a step, is as true as all of them."""
        return all(value) if isinstance(value, list) and value and set(map(type, value)) == {bool} else value

    @property
    def nonfinite_count(self) -> int:
        """How many steps were not finite, as far as is known."""
        return self.nonfinite_steps if isinstance(self.nonfinite_steps, int) else len(self.nonfinite_steps or ())


def read_observations(path: Path) -> Observations:
    """Read observations.json. Raises RunError where it is not JSON or a key has the wrong type."""
    text = read_text(path, OBSERVATIONS_FILE, MAX_OBSERVATIONS_BYTES)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError.plain(f"{OBSERVATIONS_FILE}: is not valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise RunError.plain(f"{OBSERVATIONS_FILE}: holds a {type(data).__name__}; expected keys and values.")
    return observations_from(data)


def observations_from(data: dict[str, object]) -> Observations:
    """Observations from plain values. Raises RunError where a key has the wrong type."""
    try:
        return Observations.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        expected = first["msg"].removeprefix("Input should be ")
        raise RunError(OBSERVATIONS_FILE, key, shown(first.get("input")), expected) from None
    except RecursionError:
        raise RunError.plain(f"{OBSERVATIONS_FILE}: is nested too deeply.") from None
