"""Does it help to begin with the rows that the teacher finds easy?"""

from kddoctor.treatment.experiments.experiment import Arm, Experiment

EXPERIMENT = Experiment(
    name="easy-first",
    question="Does a curriculum from the teacher's easy rows help?",
    codes=("KD401",),
    control=Arm("as prescribed"),
    arms=lambda _run: [Arm("easy first", {"treatment.order": "easy first"})],
    confirms=lambda _run, _changes: ("KD401",),
)
