"""Can the student learn one batch by heart?"""

from dataclasses import replace

from torch.utils.data import Subset

from kddoctor.run.directory import Run
from kddoctor.treatment.code_loading import LoadedCode
from kddoctor.treatment.experiments.experiment import Arm, Experiment

ROWS = 32
#: Passes over that batch, in multiples of the run's own epochs.
PASSES = 20.0


def _one_batch(code: LoadedCode) -> LoadedCode:
    """Trained and measured on the same few rows."""
    batch = Subset(code.train_data, range(min(ROWS, len(code.train_data))))  # type: ignore[arg-type]
    return replace(code, train_data=batch, val_data=batch)


def _arms(_run: Run) -> list[Arm]:
    return [
        Arm("labels alone, plain loss", {"distillation.alpha": 0.0}, PASSES, prepared=_one_batch),
        Arm("distillation alone, plain loss", {"distillation.alpha": 1.0}, PASSES, prepared=_one_batch),
    ]


EXPERIMENT = Experiment(
    name="one-batch",
    question="Can the student learn one batch by heart better with a plain loss than with the run's own?",
    codes=(),
    control=Arm("as prescribed", epochs=PASSES, prepared=_one_batch),
    arms=_arms,
    adopted=False,  # what learns a batch by heart best need not be what is best on other rows
)
