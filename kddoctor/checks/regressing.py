"""Each figure that a run shares with the baseline, as a check beside those of the rules."""

from collections.abc import Iterable

from kddoctor.baselines import Comparison, Gate, Regressions
from kddoctor.checks.results import BASELINE, CheckResult, Outcome
from kddoctor.policy import Held


def gate_of(held: Held) -> Gate:
    """The usual gate, with the level and the margins of the policy."""
    plain = Gate()
    return Gate(
        level=plain.level if held.level is None else held.level,
        margins={**plain.margins, **held.margins},
        growth={**plain.growth, **held.margins},
    )


def checks_against(regressions: Regressions) -> Iterable[CheckResult]:
    """One check a figure; a figure is allowed to be worse by its margin."""
    for comparison in regressions.comparisons:
        yield CheckResult(
            code=BASELINE,
            name=comparison.figure.replace(" ", "-"),
            family=BASELINE,
            title=f"{comparison.figure} is no worse than in the baseline",
            outcome=Outcome.FAILED if comparison.failed else Outcome.PASSED,
            detail=sentence(comparison),
            measure=f"{comparison.figure} worse by",
            value=float(comparison.drop),
            threshold=float(comparison.margin),
            wanted="no worse than the baseline; where this is meant, save it anew with a reason" * comparison.failed,
        )


def sentence(comparison: Comparison) -> str:
    """What became of a figure, and how likely another seed of the old recipe would make it so."""
    change = f"{comparison.before:.4g} became {comparison.after:.4g}"
    if comparison.p is None:
        return f"{change}; {comparison.margin:.3g} more than the baseline's largest is what is allowed"
    return f"{change}; another seed makes such a change with probability {comparison.p:.2g}"
