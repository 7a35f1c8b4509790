"""Is the learning rate wrong?"""

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment

FACTORS = (0.1, 0.3, 3.0, 10.0)


def _arms(run: Run) -> list[Arm]:
    rate = run.manifest.training.learning_rate
    return [Arm(f"rate {f:g} times", {"training.learning_rate": rate * f}) for f in FACTORS] if rate else []


EXPERIMENT = Experiment(
    name="learning-rate",
    question="Does another learning rate help?",
    codes=("KD501",),
    control=Arm("as prescribed"),
    arms=_arms,
    confirms=lambda _run, _changes: ("KD501",),
    needs="training.learning_rate in kd_run.yaml",
)
