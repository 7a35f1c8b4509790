"""Is it the loop? A plain one with the run's own models, data and settings, against the run as it was recorded."""

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment

#: Trainings that are compared with a single one: with three, that has to be five standard deviations off.
SEEDS = 5
#: The loss as declared, computed by kddoctor; a treatment's loop has the rest of a plain loop anyway.
CHANGES = {"loss.form": "declared"}


def _arms(_run: Run) -> list[Arm]:
    return [Arm("plain loop", CHANGES)]


EXPERIMENT = Experiment(
    name="plain-loop",
    question="Does a plain loop with the run's own models, data and settings do better than the run did?",
    codes=(),
    control=Arm("as recorded", recorded=True),
    arms=_arms,
    seeds=SEEDS,
)
