"""Does the student gain anything from its teacher?"""

from kddoctor.treatment.experiments.experiment import Arm, Experiment

EXPERIMENT = Experiment(
    name="labels-only",
    question="Is the same student better without its teacher?",
    codes=("KD102",),
    control=Arm("as prescribed"),
    arms=lambda _run: [Arm("labels alone", {"distillation.alpha": 0.0})],
    confirms=lambda _run, _changes: ("KD102",),
)
