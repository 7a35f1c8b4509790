"""Was the schedule too short?"""

from kddoctor.rules.optimisation.longer import times_longer
from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment
from kddoctor.treatment.schedule import DEFAULT_EPOCHS

FACTOR = 3


def of(run: Run) -> Arm:
    times = times_longer(_updates(run), FACTOR)
    epochs = times * (run.manifest.training.epochs or DEFAULT_EPOCHS)
    return Arm(f"{times} times the epochs", {"training.epochs": epochs})


def _updates(run: Run) -> int | None:
    """Steps of the optimizer as they were counted, or else as they were logged."""
    if run.observations.updates is not None and run.observations.updates.all:
        return run.observations.updates.all
    steps = [step for row in run.metrics if isinstance(step := row.get("step"), int)]
    return max(steps) + 1 if steps else None


EXPERIMENT = Experiment(
    name="longer-schedule",
    question="Does training for longer help?",
    codes=("KD502",),
    control=Arm("as prescribed"),
    arms=lambda run: [of(run)],
    confirms=lambda _run, _changes: ("KD502",),
)
