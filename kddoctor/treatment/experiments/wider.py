"""Is the student too small?"""

from dataclasses import replace

from kddoctor.run.directory import Run
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.experiments.experiment import Arm, Experiment


def _wider(code: LoadedCode) -> LoadedCode:
    assert code.make_wider_student is not None
    return replace(code, make_student=code.make_wider_student)


def _arms(run: Run) -> list[Arm]:
    code = run.manifest.code
    return [Arm("wider student", prepared=_wider)] if code and code.wider_student else []


EXPERIMENT = Experiment(
    name="wider-student",
    question="Does a wider student do better?",
    codes=("KD402",),
    control=Arm("as prescribed"),
    arms=_arms,
    confirms=lambda _run, _changes: ("KD402",),
    needs="code.wider_student: module:function in kd_run.yaml, the student with the suspected layer widened",
)
