"""A task: real data, a teacher, a student, and the recipe that distils one into the other well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Literal

from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kddoctor.bench.recipe import Recipe

Kind = Literal["multiclass", "ranking", "tokens"]


@dataclass(frozen=True)
class Data:
    """teacher: what the teacher is trained on. train: what the student is. val: what neither is.

    Each holds (inputs, labels). Labels: multiclass [N] int, ranking [N] of 0 and 1, tokens [N, L] (-100: ignored).
    """

    teacher: TensorDataset
    train: TensorDataset
    val: TensorDataset


@dataclass(frozen=True)
class Task:
    """One task. seen: rules and thresholds were developed with it in sight; on the others they are only measured.

    make_student takes a width factor (1: the usual student; smaller ones are narrower). layers: names to record.
    augment: what a training batch goes through for both models, None where nothing. classes: None for ranking.
    row_ids: the user and the item of each row of a batch of inputs, for ranking.
    """

    name: str
    kind: Kind
    seen: bool
    classes: int | None
    load: Callable[[], Data]
    make_teacher: Callable[[], nn.Module]
    make_student: Callable[[float], nn.Module]
    recipe: Recipe
    layers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    augment: Callable[[Tensor], Tensor] | None = None
    row_ids: Callable[[Tensor], Mapping[str, Tensor]] | None = None

    def data(self) -> Data:
        """The data, loaded once a process."""
        return _loaded(self.load)


@cache
def _loaded(load: Callable[[], Data]) -> Data:
    return load()


#: In the order of the report. The first four were in sight while rules were developed.
NAMES = ("digits", "newsgroups", "movielens", "language", "clothes", "cloze", "sentiment")
#: In sight as well, and in no committed report: what rules do on tasks of kinds that they do not know was read from
#: these (``kddoctor bench --tasks photographs,spelling``).
TRIAL_TASKS = ("photographs", "spelling", "clicks", "profiles", "vowels")


@cache
def find_task(name: str) -> Task:
    """The task of a name; its file is ``tasks/<name>.py``."""
    task = import_module(f"kddoctor.bench.tasks.{name}").TASK
    assert isinstance(task, Task)
    return task
