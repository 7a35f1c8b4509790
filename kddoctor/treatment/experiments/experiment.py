"""What an experiment is: a question, a control, arms that differ from it by one thing, and an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from kddoctor.run.directory import Run

if TYPE_CHECKING:
    from kddoctor.treatment.code_loading import LoadedCode

#: Seeds of every arm, unless it says so: with two, Student's t knows next to nothing.
SEEDS = 3


def as_it_is(code: "LoadedCode") -> "LoadedCode":
    """The run's own data and models."""
    return code


@dataclass(frozen=True)
class Arm:
    """One way of training. changes: of a prescription's keys, beside those of the treatment.

    epochs: in multiples of those of the treatment. prepared: the data and models that it has.
    leaves_out: a code that is not treated in it. alone: instead of what is prescribed, not beside it.
    recorded: the run itself, for which nothing is trained.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    epochs: float = 1.0
    prepared: "Callable[[LoadedCode], LoadedCode]" = as_it_is
    leaves_out: str | None = None
    alone: bool = False
    recorded: bool = False

    def with_changes_of(self, other: "Arm") -> "Arm | None":
        """Both at once; None where one says otherwise than the other, or has nothing to add."""
        shared = self.changes.keys() & other.changes.keys()
        changes = {**self.changes, **other.changes}
        if changes in (self.changes, other.changes) or any(self.changes[k] != other.changes[k] for k in shared):
            return None
        return replace(self, name=f"{self.name}, {other.name}", changes=changes)


@dataclass(frozen=True)
class Experiment:
    """A question to a loop. codes: what the arms could be the cure of. arms: of a run, none where it cannot be asked.

    control: what the arms are compared with, from the same seeds, or the run as it was recorded. confirms: of a run
    and the changes of its better arm, the codes that this arm cures. needs: what the run has to name for there to be
    arms. seeds: from which every arm is trained. adopted: a better arm is a better treatment. level: of the intervals.

    race: of several arms only the one that is ahead from a first seed goes on, from ``seeds`` others, which alone are
    compared; of arms that the trials do not suffice for, the last are left out. joined: up to so many further arms of
    a race are the one that is ahead together with one of the next best. on_average: an arm that is better by a
    point on the average, or clearly than a recorded run, is the better treatment, also where these seeds leave it open;
    then it proves nothing.
    """

    name: str
    question: str
    codes: tuple[str, ...]
    control: Arm
    arms: Callable[[Run], Sequence[Arm]]
    confirms: Callable[[Run, Mapping[str, Any]], tuple[str, ...]] = lambda _run, _changes: ()
    needs: str = "nothing"
    seeds: int = SEEDS
    adopted: bool = True
    race: bool = False
    joined: int = 0
    on_average: bool = False
    level: float = 0.95

    def seeds_of(self, arms: int) -> int:
        """From how many seeds the longest trained of so many arms is trained."""
        return self.seeds + self.chooses(arms)

    def chooses(self, arms: int) -> bool:
        """Whether the first seed only tells which of the arms goes on."""
        return self.race and arms > 1


class ArmResult(BaseModel):
    """values: the metric by seed. stopped: seeds at which it was given up for being far behind, or failed.

    skipped: those of them that were never begun, since the first seed had said enough.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    changes: dict[str, Any]
    values: dict[int, float]
    stopped: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()

    @property
    def trained(self) -> tuple[int, ...]:
        """Seeds from which a student was trained, to its end or not."""
        return tuple(seed for seed in (*self.values, *self.stopped) if seed not in self.skipped)


class Verdict(BaseModel):
    """The answer of one experiment. change: of the best arm against the control, in the metric, paired by seed.

    confirms, refutes: codes. changes: what the best arm does otherwise, where that is worth doing; alone: instead of
    what was prescribed. too_few: it was not asked for want of trials.
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    question: str
    answer: str
    outcome: Literal["better", "no better", "open", "not asked"]
    best: str | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    control: ArmResult | None = None
    arms: tuple[ArmResult, ...] = ()
    confirms: tuple[str, ...] = ()
    refutes: tuple[str, ...] = ()
    changes: dict[str, Any] = {}
    alone: bool = False
    too_few: bool = False


def trainings_of(verdicts: Sequence[Verdict]) -> int:
    """Students that experiments trained, finished or given up; one that two of them share counts once."""
    results = [r for v in verdicts for r in (v.control, *v.arms) if r is not None]
    return len({(r.name, str(r.changes), seed) for r in results for seed in r.trained})
