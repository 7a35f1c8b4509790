"""Runs of one task that differ by their seeds, as records: the recipe, and recipes that are worse by a known amount."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.regressions.students import Recipe, Stack, distil, teacher_of
from benchmarks.regressions.tasks import Task
from kddoctor.baselines.record import Record, record_of
from kddoctor.engine import Diagnosis, diagnose
from kddoctor.run import load, write_run

#: Ways to make a recipe worse, from hardly at all to badly.
WORSE: dict[str, tuple[Callable[[float], Recipe], tuple[float, ...]]] = {
    "fewer rows": (lambda share: Recipe(rows=share), (0.7, 0.55, 0.4, 0.3, 0.2)),
    "misaligned rows": (lambda share: Recipe(misaligned=share), (0.15, 0.25, 0.35, 0.5, 0.65)),
}
#: The drop that is asked for, in the metric, and the seeds by which a strength is chosen.
WANTED, PROBED = 0.02, 8


@dataclass(frozen=True)
class Pool:
    """records: one a seed. drop: mean loss of the metric against the recipe."""

    name: str
    records: list[Record]
    drop: float

    @property
    def metric(self) -> str:
        """The task's."""
        return self.records[0].identity.metric

    @property
    def values(self) -> np.ndarray:
        """[S] the metric of each run."""
        return np.array([record.figures[self.metric].value for record in self.records])


def pools(task: Task, seeds: int, worse_seeds: int) -> list[Pool]:
    """The recipe first, then each way to make it worse, at the strength that costs about two points."""
    teacher = teacher_of(task)
    recorder = _Recorder(task, teacher)
    good = Pool("recipe", recorder.records(Recipe(), range(1, seeds + 1)), 0.0)
    found = [good]
    for name, (recipe_of, strengths) in WORSE.items():
        probes = [recorder.records(recipe_of(strength), range(5000, 5000 + PROBED)) for strength in strengths]
        drops = [float(good.values.mean() - Pool("", records, 0.0).values.mean()) for records in probes]
        strength = strengths[int(np.argmin(np.abs(np.array(drops) - WANTED)))]
        # Other seeds than those that chose it.
        records = recorder.records(recipe_of(strength), range(6000, 6000 + worse_seeds))
        drop = float(good.values.mean() - Pool("", records, 0.0).values.mean())
        found.append(Pool(f"{name} ({strength:g})", records, drop))
    return found


class _Recorder:
    """Writes each student as a run directory, and reads it as the gate does."""

    def __init__(self, task: Task, teacher: Stack) -> None:
        self.task, self.teacher = task, teacher
        self.taught = teacher(task.held_out.inputs).detach()[0]
        self.diagnosis: Diagnosis | None = None

    def records(self, recipe: Recipe, seeds: range) -> list[Record]:
        """One for each seed."""
        logits = distil(self.task, self.teacher, recipe, list(seeds))
        with tempfile.TemporaryDirectory() as folder:
            return [self._record(Path(folder) / str(seed), z) for seed, z in zip(seeds, logits, strict=True)]

    def _record(self, path: Path, logits: Tensor) -> Record:
        held_out, single = self.task.held_out, self.task.outputs == 1
        arrays = {"labels": held_out.labels.numpy()}
        for name, z in (("teacher_logits", self.taught), ("student_logits", logits)):
            arrays[name] = (z[:, 0] if single else z).contiguous().numpy()
        if held_out.groups is not None:
            arrays["group_ids"] = held_out.groups.numpy()
        manifest = {"task": self.task.kind} | ({} if single else {"num_classes": self.task.outputs})
        run = load(write_run(path, manifest, predictions={"val": arrays}))
        # Of a diagnosis the gate takes the metric only, which is the task's.
        self.diagnosis = self.diagnosis or diagnose(run)
        return record_of(run, self.diagnosis)
