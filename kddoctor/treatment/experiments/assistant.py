"""Is the teacher too far ahead? Asked with a model of a size in between."""

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment


def _arms(run: Run) -> list[Arm]:
    code = run.manifest.code
    return [Arm("taught by an assistant", {"treatment.assistant": "distilled"})] if code and code.assistant else []


EXPERIMENT = Experiment(
    name="teacher-assistant",
    question="Does a teacher assistant help?",
    codes=("KD401",),
    control=Arm("as prescribed"),
    arms=_arms,
    confirms=lambda _run, _changes: ("KD401",),
    needs="code.assistant: module:function in kd_run.yaml, a model between student and teacher in size",
)
