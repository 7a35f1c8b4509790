"""One case of the benchmark: a task, what was done to its recipe, and what a diagnosis ought to say."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from kddoctor.bench.fault import Level
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.states import described, recorder_code, source_of
from kddoctor.bench.task import find_task

Group = Literal["twin", "healthy", "lookalike", "practice", "fault", "pair", "outside", "reported"]
#: Groups in which nothing is wrong.
SOUND: frozenset[Group] = frozenset({"twin", "healthy", "lookalike", "practice"})


@dataclass(frozen=True)
class Case:
    """truth: the codes that are true, the primary one first; none of a sound run, and of a fault outside the catalogue.

    name: of the implementation or variant. unseen_implementation: rules were not developed with it in sight.
    baseline: whether the record holds a labels-only twin's outputs.
    """

    group: Group
    task: str
    name: str
    truth: tuple[str, ...]
    recipe: Recipe
    seed: int
    level: Level | None = None
    unseen_implementation: bool = False
    baseline: bool = True

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with the run."""
        return self.group in SOUND

    @property
    def unseen_task(self) -> bool:
        """Whether rules were developed without this task in sight."""
        return not find_task(self.task).seen

    @property
    def label(self) -> str:
        """A name for people and for the snapshot; no record holds it."""
        level = "" if self.level is None else f" {self.level.name.lower()}"
        code = "+".join(self.truth) or "-"
        return f"{self.task} {self.group} {code} {self.name}{level} seed {self.seed}"

    @cached_property
    def key(self) -> str:
        """A neutral name that changes with everything that the record depends on, and says nothing."""
        from kddoctor.bench import distil, session

        task = find_task(self.task)
        parts = (
            recorder_code(),
            source_of(task.load),
            source_of(distil.distil),
            source_of(session.batches),
            described(task.recipe),
            described(self.recipe),
            str(self.seed),
            str(self.baseline),
        )
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()

    @property
    def twin(self) -> "Case":
        """The sound run of the same seed, data order and first weights."""
        return replace(
            self,
            group="twin",
            name="twin",
            truth=(),
            recipe=find_task(self.task).recipe,
            level=None,
            unseen_implementation=False,
        )
