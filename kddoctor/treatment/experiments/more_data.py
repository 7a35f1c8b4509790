"""Would more transfer rows help? Told from what half of them cost."""

from dataclasses import replace

import torch
from torch.utils.data import Subset

from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.experiments.experiment import Arm, Experiment


def _half(code: LoadedCode) -> LoadedCode:
    rows = len(code.train_data)  # type: ignore[arg-type]
    chosen = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[: rows // 2].tolist()
    return replace(code, train_data=Subset(code.train_data, chosen))


EXPERIMENT = Experiment(
    name="more-data",
    question="Do twice as many transfer rows help, for as many steps?",
    codes=("KD602",),
    control=Arm("half of the rows", epochs=2.0, prepared=_half),
    arms=lambda _run: [Arm("all rows")],
    confirms=lambda _run, _changes: ("KD602",),
)
