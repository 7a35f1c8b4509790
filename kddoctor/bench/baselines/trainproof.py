"""The linter of training logs trainproof, on the run's log.

It names symptoms, not causes, and states no confidence: a failed check is taken at its word.
"""

from collections.abc import Sequence
from importlib import import_module
from itertools import chain

from kddoctor.bench.baselines.trainer_state import trainer_state
from kddoctor.bench.judged import Example, Judge, Judgement

#: What the text of each check amounts to in our codes, the most fitting one first. Checks of memory, speed and
#: evaluation loss name nothing that has a code.
MEANS: dict[str, tuple[str, ...]] = {
    "TP-NAN": ("KD505",),
    "TP-NAN-GRAD": ("KD505",),
    "TP-DIVERGE": ("KD505", "KD501"),
    "TP-ZERO-LOSS-ONSET": ("KD505",),
    "TP-ZERO-LOSS": ("KD801",),
    "TP-ZERO-GRAD": ("KD506", "KD111"),
    "TP-ZERO-LR": ("KD501",),
    "TP-ZERO-LR-PARTIAL": ("KD501",),
    "TP-GRAD-SPIKE": ("KD501",),
    "TP-FLAT": ("KD501", "KD506"),
    "TP-DEAD-RUN": ("KD501", "KD502"),
}
#: Worst first; the other levels report no problem.
LEVELS = ("FAIL", "WARN")
#: It could not judge, which says nothing about the run.
UNJUDGED = frozenset({"TP-NO-RECORDS", "TP-NO-LOSS"})


def fit(_examples: Sequence[Example]) -> Judge:
    """There is nothing to learn: the tool's own thresholds stand. Sick is what fails. Needs the extra ``bench``."""
    check_epoch = import_module("trainproof.epoch").check_epoch

    def judge(example: Example) -> Judgement:
        with trainer_state(example.metrics) as path:
            found = check_epoch(path)["findings"]
        said = [(f["level"], f["id"]) for f in found if f["level"] in LEVELS and f["id"] not in UNJUDGED]
        sick = any(level == "FAIL" for level, _ in said)
        said.sort(key=lambda finding: LEVELS.index(finding[0]))
        ranked = dict.fromkeys(chain.from_iterable(MEANS.get(name, ()) for _, name in said))
        return Judgement(sick, tuple(ranked), 1.0 if sick else 0.0)

    return judge
