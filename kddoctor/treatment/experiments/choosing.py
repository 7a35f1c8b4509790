"""Which experiments a diagnosis asks for, the most telling first."""

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.treatment.experiments import (
    assistant,
    dose_response,
    easy_first,
    intermediate,
    labels_only,
    longer,
    more_data,
    one_batch,
    rate,
    wider,
)
from kddoctor.treatment.experiments.experiment import Experiment

#: Cheap ones whose answer may be a cure first, those that need models of their own last.
EXPERIMENTS: tuple[Experiment, ...] = (
    labels_only.EXPERIMENT,
    rate.EXPERIMENT,
    longer.EXPERIMENT,
    easy_first.EXPERIMENT,
    one_batch.EXPERIMENT,
    intermediate.EXPERIMENT,
    more_data.EXPERIMENT,
    assistant.EXPERIMENT,
    wider.EXPERIMENT,
    dose_response.EXPERIMENT,
)


def experiments_for(diagnosis: Diagnosis) -> tuple[Experiment, ...]:
    """Those about codes that are suspected, then about undecided ones, then about ones that were not examined.

    What the record has ruled out, or proven, is not asked again.
    """
    suspected = {f.code for f in diagnosis.findings if not f.status.startswith("confirmed")}
    settled = {*diagnosis.ruled_out, *(f.code for f in diagnosis.findings if f.status.startswith("confirmed"))}

    def rank(experiment: Experiment) -> int:
        codes = set(experiment.codes)
        if codes & suspected:
            return 0
        if codes & set(diagnosis.undecided):
            return 1
        return 2 if not codes or not codes <= settled else 3

    ranked = sorted(EXPERIMENTS, key=rank)
    return tuple(experiment for experiment in ranked if rank(experiment) < 3)
