"""Models and data of a case as its author's functions would give them, so that a retraining inherits their mistakes.

What is wrong with the student's make or with the data stays wrong in a retraining, unless the treatment mends it; what
is wrong with the loop is gone with the loop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from kddoctor.bench.case import Case
from kddoctor.bench.task import Data, find_task

#: The file that a recorded run with code names.
FILE = "script.py"
SCRIPT = """from kddoctor.bench.own_code import OwnCode
from kddoctor.bench.plan import all_cases

own = OwnCode(all_cases()[{key!r}])
make_teacher, make_student, train_data, val_data = own.teacher, own.student, own.train_data, own.val_data
"""


@dataclass(frozen=True)
class OwnCode:
    """The functions that a code section names, of one case."""

    case: Case

    def teacher(self) -> nn.Module:
        """Without its weights: those are in the run."""
        return find_task(self.case.task).make_teacher()

    def student(self) -> nn.Module:
        """New, with all that its author did to a new student."""
        recipe, task = self.case.recipe, find_task(self.case.task)
        made = task.make_student(recipe.width) if recipe.make_student is None else recipe.make_student(self.teacher())
        return recipe.change_student(made)

    def train_data(self) -> Dataset[Any]:
        """As its author splits and changes it, with the task's own augmentation."""
        task = find_task(self.case.task)
        rows = self.case.recipe.train_set(self._split().train)
        return rows if task.augment is None else _Augmented(rows, task.augment)

    def val_data(self) -> TensorDataset:
        """As its author evaluates on it."""
        return self.case.recipe.val_set(self._split().val)

    def _split(self) -> Data:
        return self.case.recipe.split(find_task(self.case.task).data())


class _Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Rows that are changed at random whenever they are read, one by one."""

    def __init__(self, rows: TensorDataset, augment: Callable[[Tensor], Tensor]) -> None:
        self._rows, self._augment = rows, augment

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, label = self._rows[index]
        return self._augment(inputs[None])[0], label


def keep_own_code(run_dir: Path, case: Case) -> None:
    """Let the code section of a run that was recorded with code name this case's own functions."""
    (run_dir / FILE).write_text(SCRIPT.format(key=case.key), encoding="utf-8")
