"""Which temperature and which weight of the teacher suit this pair of models?"""

from collections.abc import Mapping
from typing import Any

from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import Arm, Experiment

TEMPERATURE, ALPHA = "distillation.temperature", "distillation.alpha"
TEMPERATURES, ALPHAS = (1.0, 2.0, 4.0, 8.0), (0.1, 0.5, 0.9)
#: Share of the run's own epochs: a dose shows early, and there are many of them.
BUDGET = 0.5


def _arms(run: Run) -> list[Arm]:
    meant = run.manifest.distillation
    grid = [(t, a) for t in TEMPERATURES for a in ALPHAS if (t, a) != (meant.temperature, meant.alpha)]
    return [Arm(f"T {t:g}, alpha {a:g}", {TEMPERATURE: t, ALPHA: a}, epochs=BUDGET) for t, a in grid]


def arms_of_one(run: Run, key: str) -> list[Arm]:
    """The doses of ``TEMPERATURE`` or ``ALPHA`` alone, where a loop lets the other not be changed."""
    meant = run.manifest.distillation
    name, doses, own = ("T", TEMPERATURES, meant.temperature) if key == TEMPERATURE else ("alpha", ALPHAS, meant.alpha)
    return [Arm(f"{name} {dose:g}", {key: dose}, epochs=BUDGET) for dose in doses if dose != own]


def _confirms(run: Run, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """A better temperature says that this one was too low or too high; a better weight alone names no cause."""
    was, better = run.manifest.distillation.temperature, changes.get(TEMPERATURE)
    if was is None or better is None or better == was:
        return ()
    return ("KD301",) if better > was else ("KD302",)


EXPERIMENT = Experiment(
    name="dose-response",
    question="Does another temperature or weight of the distillation term help?",
    codes=("KD301", "KD302"),
    control=Arm("as prescribed", epochs=BUDGET),
    arms=_arms,
    confirms=_confirms,
)
