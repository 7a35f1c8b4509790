"""Was the schedule too short?"""

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment
from kddoctor.treatment.schedule import DEFAULT_EPOCHS

FACTOR = 3


def of(run: Run) -> Arm:
    epochs = FACTOR * (run.manifest.training.epochs or DEFAULT_EPOCHS)
    return Arm(f"{FACTOR} times the epochs", {"training.epochs": epochs})


EXPERIMENT = Experiment(
    name="longer-schedule",
    question="Does training for longer help?",
    codes=("KD502",),
    control=Arm("as prescribed"),
    arms=lambda run: [of(run)],
    confirms=lambda _run, _changes: ("KD502",),
)
