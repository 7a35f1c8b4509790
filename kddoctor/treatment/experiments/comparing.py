"""From what the arms of an experiment reached to its verdict."""

from collections.abc import Sequence

import numpy as np

from kddoctor.probes.paired_difference import PairedDifference, paired_numbers
from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import ArmResult, Experiment, Verdict

#: Of an interval, shared out over the arms (Bonferroni): the best of many arms looks better than it is.
LEVEL = 0.95
#: Points of the metric below which a change would not be worth a code's name.
WORTH = 0.01


def verdict_of(run: Run, experiment: Experiment, control: ArmResult, arms: Sequence[ArmResult]) -> Verdict:
    """Compare every arm with the control, seed by seed.

    An arm is better where the whole of its interval is above zero. Nothing is better where no interval reaches
    ``WORTH`` and the rest was given up. Anything between is open, and more seeds would tell.
    """
    asked = {"experiment": experiment.name, "question": experiment.question, "control": control, "arms": tuple(arms)}
    level = 1 - (1 - LEVEL) / max(1, len(arms))
    found = {arm.name: _against(control, arm, level) for arm in arms}
    known = {name: difference for name, difference in found.items() if difference is not None}
    if not known:
        stopped = all(arm.stopped and not arm.values for arm in arms)
        if stopped:
            answer = "No: every arm fell far behind the control before its time."
            return Verdict(**asked, outcome="no better", answer=answer, refutes=experiment.codes)
        return Verdict(**asked, outcome="open", answer="Too few trials were finished to tell.")
    best = max(known, key=lambda name: known[name].low)
    found_best = known[best]
    numbers = {"best": best, "change": _f(found_best.change), "low": _f(found_best.low), "high": _f(found_best.high)}
    said = (
        f"{best}: {100 * found_best.change:+.1f} points ({100 * found_best.low:+.1f} to {100 * found_best.high:+.1f})"
    )
    if found_best.low > 0:
        changes = next(arm.changes for arm in arms if arm.name == best)
        confirms = experiment.confirms(run, changes)
        return Verdict(
            **asked, **numbers, outcome="better", answer=f"Yes. {said}.", confirms=confirms, changes=dict(changes)
        )
    behind = all(arm.name in known or arm.stopped for arm in arms)
    if behind and all(difference.high < WORTH for difference in known.values()):
        return Verdict(**asked, **numbers, outcome="no better", answer=f"No. Best {said}.", refutes=experiment.codes)
    return Verdict(**asked, **numbers, outcome="open", answer=f"Not settled by these seeds. Best {said}.")


def _against(control: ArmResult, arm: ArmResult, level: float) -> PairedDifference | None:
    """Paired by seed; None where fewer than two seeds have both."""
    seeds = sorted(set(control.values) & set(arm.values))
    if len(seeds) < 2:
        return None
    before, after = (np.array([result.values[seed] for seed in seeds]) for result in (control, arm))
    return paired_numbers(before, after, level=level)


def _f(value: float) -> float:
    return float(f"{value:.6g}")
