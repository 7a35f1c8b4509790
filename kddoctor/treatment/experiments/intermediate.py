"""Does it help to supervise a layer in the middle?"""

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment


def _arms(run: Run) -> list[Arm]:
    pairs = [list(pair) for pair in run.manifest.distillation.feature_layers]
    return [Arm("hints", {"treatment.hints": pairs})] if pairs else []


EXPERIMENT = Experiment(
    name="intermediate-supervision",
    question="Does supervising layers in the middle help?",
    codes=("KD401",),
    control=Arm("as prescribed"),
    arms=_arms,
    confirms=lambda _run, _changes: ("KD401",),
    needs="distillation.feature_layers: [[teacher layer, student layer]] in kd_run.yaml",
)
