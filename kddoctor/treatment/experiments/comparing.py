"""From what the arms of an experiment reached to its verdict."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from kddoctor.probes.paired_difference import PairedDifference, paired_numbers
from kddoctor.probes.proportions import noise_of_difference, standard_error
from kddoctor.run.directory import Run
from kddoctor.treatment.experiments.experiment import ArmResult, Experiment, Verdict
from kddoctor.treatment.recorded_score import recorded_score

#: Points of the metric below which a change would not be worth a code's name.
WORTH = 0.01
#: Seeds of a race that tell which arm goes on.
CHOOSING = (0,)


def verdict_of(run: Run, experiment: Experiment, control: ArmResult, arms: Sequence[ArmResult]) -> Verdict:
    """Compare every arm with the control, seed by seed; with the run as it was recorded, where that is the control.

    Of a race the arm that was ahead is compared, on the seeds that did not choose it.

    An arm is better where the whole of its interval is above zero. Nothing is better where no interval reaches
    ``WORTH`` and the rest was given up. Anything between is open, and more seeds would tell.
    """
    asked = {"experiment": experiment.name, "question": experiment.question, "control": control, "arms": tuple(arms)}
    chosen = experiment.chooses(len(arms))
    # Shared out over the arms (Bonferroni): the best of many looks better than it is.
    level = 1 - (1 - experiment.level) / (1 if chosen else max(1, len(arms)))
    against = _against_one if experiment.control.recorded else _against
    left_out = CHOOSING if chosen else ()
    found = {arm.name: against(_but(control, left_out), _but(arm, left_out), level) for arm in arms}
    known = {name: difference for name, difference in found.items() if difference is not None}
    if not known:
        if chosen and not any(set(arm.trained) - set(CHOOSING) for arm in arms):
            answer = "No: no arm was ahead of the control from the first seed."
            return Verdict(**asked, outcome="no better", answer=answer, refutes=experiment.codes)
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
    worth = found_best.change >= WORTH
    changes = next(arm.changes for arm in arms if arm.name == best)
    alone = any(arm.alone for arm in experiment.arms(run))
    taken = {"changes": dict(changes) if experiment.adopted else {}, "alone": alone}
    # What takes the place of a treatment has to be worth it.
    if found_best.low > 0 and (not chosen or worth):
        confirms = experiment.confirms(run, changes)
        return Verdict(**asked, **numbers, **taken, outcome="better", answer=f"Yes. {said}.", confirms=confirms)
    behind = all(arm.name in known or arm.stopped for arm in arms)
    if behind and all(difference.high < WORTH for difference in known.values()):
        return Verdict(**asked, **numbers, outcome="no better", answer=f"No. Best {said}.", refutes=experiment.codes)
    if experiment.on_average and found_best.change >= _worth_on_average(run, experiment, control):
        answer = f"Not settled by these seeds, and taken for its average. {said}."
        return Verdict(**asked, **numbers, **taken, outcome="open", answer=answer)
    return Verdict(**asked, **numbers, outcome="open", answer=f"Not settled by these seeds. Best {said}.")


def _worth_on_average(run: Run, experiment: Experiment, control: ArmResult) -> float:
    """Points that are not chance alone: ``WORTH`` of ones that many seeds reached, more of a single recorded run."""
    if not experiment.control.recorded:
        return WORTH
    return noise_of_difference(standard_error(next(iter(control.values.values())), recorded_score(run).rows))


def _but(result: ArmResult, seeds: Sequence[int]) -> ArmResult:
    """Without these seeds."""
    return result.model_copy(update={"values": {s: value for s, value in result.values.items() if s not in seeds}})


def _against(control: ArmResult, arm: ArmResult, level: float) -> PairedDifference | None:
    """Paired by seed; None where fewer than two seeds have both."""
    seeds = sorted(set(control.values) & set(arm.values))
    if len(seeds) < 2:
        return None
    before, after = (np.array([result.values[seed] for seed in seeds]) for result in (control, arm))
    return paired_numbers(before, after, level=level)


def _against_one(control: ArmResult, arm: ArmResult, level: float) -> PairedDifference | None:
    """A single training of unknown seed, taken to be as noisy as those of the arm; None where that has fewer than two.

    Student's t for two groups, of which one has a single member.
    """
    if len(arm.values) < 2:
        return None
    before, after = next(iter(control.values.values())), np.array(list(arm.values.values()))
    change = float(after.mean()) - before
    if not np.ptp(after):  # every seed the same
        return PairedDifference(change, change, change, 0.0 if change else 1.0, len(after), level)
    found = stats.ttest_ind(after, [before])
    interval = found.confidence_interval(level)
    return PairedDifference(change, float(interval.low), float(interval.high), float(found.pvalue), len(after), level)


def _f(value: float) -> float:
    return float(f"{value:.6g}")
