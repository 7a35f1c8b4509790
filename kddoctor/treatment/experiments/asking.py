"""The experiments of one treatment: which, within a budget of trainings, and what they change about it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.errors import UsageError
from kddoctor.treatment.experiments import plain_loop
from kddoctor.treatment.experiments.ablation import ablation
from kddoctor.treatment.experiments.choosing import experiments_for
from kddoctor.treatment.experiments.experiment import Experiment, Verdict, trainings_of
from kddoctor.treatment.experiments.feedback import best_of, with_experiments, worth_keeping
from kddoctor.treatment.experiments.running import Laboratory, carry_out
from kddoctor.treatment.prescription import Prescription, is_a_guess


@dataclass(frozen=True)
class Asked:
    """diagnosis, prescription: with what the verdicts say. trainings: that the trials took."""

    diagnosis: Diagnosis
    prescription: Prescription
    verdicts: tuple[Verdict, ...]

    @property
    def trainings(self) -> int:
        """Of students, finished or given up."""
        return trainings_of(self.verdicts)


def ask(laboratory: Laboratory, diagnosis: Diagnosis, trials: int, *, decided: bool = False, quiet: bool) -> Asked:
    """Experiments on top of the laboratory's prescription, then what each of its causes costs.

    decided: the user chose what is prescribed, and no plain loop takes its place.
    Raises UsageError where there is nothing to treat after them, either.
    """
    said = _silent if quiet else _on_stderr
    race = [] if decided else _race(laboratory.prescription, diagnosis)
    verdicts = carry_out(laboratory, race, trials, said)
    laboratory = replace(laboratory, prescription=_with_better(laboratory.prescription, verdicts))
    # Of a run that looks healthy only the loop is in doubt.
    asks = laboratory.prescription.changes or diagnosis.verdict != "healthy"
    others = experiments_for(diagnosis) if asks else ()
    asked = carry_out(laboratory, others, trials - trainings_of(verdicts), said)
    prescription = _with_better(laboratory.prescription, asked)
    verdicts = (*verdicts, *asked)
    judged = with_experiments(diagnosis, verdicts)
    if not prescription.changes:
        given = [v for v in verdicts if v.outcome != "not asked"] or verdicts[:1]
        answers = "; ".join(f"{v.experiment}: {v.answer.removesuffix('.')}" for v in given)
        more = "; --resume with more --trials goes on from these trainings" if _is_more(laboratory, verdicts) else ""
        raise UsageError(f"{diagnosis.run}: no experiment found anything that helps. {answers}{more}")
    whole = ablation(prescription)
    if whole is not None:
        left = trials - Asked(judged, prescription, verdicts).trainings
        again = replace(laboratory, prescription=prescription)
        verdicts = (*verdicts, *carry_out(again, [whole], left, said))
    return Asked(judged, prescription, verdicts)


def _is_more(laboratory: Laboratory, verdicts: Sequence[Verdict]) -> bool:
    """Whether more trials would ask what these were too few for."""
    whole = {arm.name for arm in plain_loop.EXPERIMENT.arms(laboratory.run)}
    raced = [v for v in verdicts if v.experiment == plain_loop.EXPERIMENT.name]
    return any(v.too_few for v in verdicts) or any(whole - {arm.name for arm in v.arms} for v in raced)


def _race(prescription: Prescription, diagnosis: Diagnosis) -> list[Experiment]:
    """Plain loops, unless all that is prescribed mends what was shown, in the one way that there is to mend it."""
    if not prescription.changes:
        return [plain_loop.IN_DOUBT if diagnosis.verdict == "healthy" else plain_loop.EXPERIMENT]
    return [plain_loop.BESIDE] if is_a_guess(prescription, diagnosis) else []


def _with_better(prescription: Prescription, verdicts: Sequence[Verdict]) -> Prescription:
    """What the best of the better arms did otherwise, before or instead of what was prescribed."""
    best = best_of(verdicts)
    if best is None:
        return prescription
    better = worth_keeping(best)
    kept = tuple(c for c in prescription.changes if not best.alone and c.key not in best.changes)
    return prescription.model_copy(update={"changes": (*kept, *better)})


def _silent(_experiment: str, _arm: str, _value: float | None) -> None:
    return None


def _on_stderr(experiment: str, arm: str, value: float | None) -> None:
    reached = "given up" if value is None else f"{value:.1%}"
    sys.stderr.write(f"experiment {experiment}: {arm}, {reached}\n")
