"""Is it the loop? Plain ones with the run's own models and data, as declared and otherwise, against what it reached."""

from collections.abc import Mapping
from dataclasses import replace

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments import longer
from kddoctor.treatment.experiments.experiment import Arm, Experiment

#: Trainings that are compared with a single one, and with ones of the same seeds. A single one has to be five standard
#: deviations off where five are compared with it, and four where seven are.
SEEDS, SEEDS_BESIDE = 7, 3
#: The loss as declared, computed by kddoctor; a treatment's loop has the rest of a plain loop anyway.
DECLARED = {"loss.form": "declared"}
#: What most people distil with: of many classes (Tian et al. 2020, arXiv:1910.10699), and the temperature where there
#: are few (Sanh et al. 2019, arXiv:1910.01108).
TEMPERATURE, ALPHA, TEMPERATURE_OF_FEW, FEW = 4.0, 0.9, 2.0, 2
KL = {"distillation.loss": "kl", "distillation.temperature_squared": True}
#: For a student whose logits cannot be as large as the teacher's (Sun et al. 2024, arXiv:2403.01427).
STANDARDISED = {**KL, "treatment.divergence": "standardised", "distillation.alpha": ALPHA}
#: Trainings of the arm that is ahead, each with what another one does otherwise: two faults need both cures.
JOINED = 2


def _arms(run: Run) -> list[Arm]:
    """As declared, then with one thing otherwise that is often wrong."""
    lengthened = longer.of(run)
    ways: dict[str, Mapping[str, object]] = {
        "plain loop": {},
        "labels alone": {"distillation.alpha": 0.0},
        **({"forward KL": KL} if run.manifest.distillation.loss not in ("kl", "none", None) else {}),
        "ordinary temperature and weight": _ordinary(run),
        "another rate": {"treatment.learning_rate": "probe either way"},
        "first weights anew": {"treatment.initial_weights": "default", "treatment.parameters": "all"},
        lengthened.name: lengthened.changes,
        "without dropout and weight decay": {"treatment.dropout": 0.0, "training.weight_decay": 0.0},
        "where the teacher is right": {**_ordinary(run), "treatment.rows": "teacher right"},
        **({} if _yes_or_no(run) else {"logits on one scale": STANDARDISED}),
    }
    return [Arm(name, {**DECLARED, **changes}, alone=True) for name, changes in ways.items()]


def _ordinary(run: Run) -> dict[str, object]:
    few = _yes_or_no(run) or (run.manifest.num_classes or FEW) <= FEW
    temperature = TEMPERATURE_OF_FEW if few else TEMPERATURE
    return {**KL, "distillation.temperature": temperature, "distillation.alpha": ALPHA}


def _yes_or_no(run: Run) -> bool:
    return run.manifest.task in ("binary", "multilabel", "ranking")


EXPERIMENT = Experiment(
    name="plain-loop",
    question="Does a plain loop with the run's own models and data do better than the run did?",
    codes=(),
    control=Arm("as recorded", recorded=True),
    arms=_arms,
    seeds=SEEDS,
    race=True,
    joined=JOINED,
    on_average=True,
)
#: The same of a run that looks healthy: its loop is blamed for what may be one unlucky seed.
IN_DOUBT = replace(EXPERIMENT, level=0.99, on_average=False)
#: The same of a treatment that is a guess.
BESIDE = replace(
    EXPERIMENT,
    question="Does a plain loop with the run's own models and data do better than what is prescribed?",
    control=Arm("as prescribed"),
    seeds=SEEDS_BESIDE,
)
