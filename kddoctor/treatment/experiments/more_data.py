"""Would more transfer rows help? Told from what half of them cost."""

from dataclasses import replace

from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.experiments.experiment import Arm, Experiment
from kddoctor.treatment.training import some_rows


def _half(code: LoadedCode) -> LoadedCode:
    return replace(code, train_data=some_rows(code.train_data, len(code.train_data) // 2))  # type: ignore[arg-type]


EXPERIMENT = Experiment(
    name="more-data",
    question="Do twice as many transfer rows help, for as many steps?",
    codes=("KD602",),
    control=Arm("half of the rows", epochs=2.0, prepared=_half),
    arms=lambda _run: [Arm("all rows")],
    confirms=lambda _run, _changes: ("KD602",),
)
