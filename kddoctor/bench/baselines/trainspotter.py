"""The log doctor trainspotter, on the run's log.

It names symptoms, not causes, and states no confidence: a finding of severity error is taken at its word.
"""

from collections.abc import Sequence
from importlib import import_module
from itertools import chain

from kddoctor.bench.baselines.trainer_state import trainer_state
from kddoctor.bench.judged import Example, Judge, Judgement

#: What the text and the advice of each detector amount to in our codes, the most fitting one first. Its detectors of
#: overfitting, noisy evaluation and falling throughput name nothing that has a code.
MEANS: dict[str, tuple[str, ...]] = {
    "divergence": ("KD505", "KD501"),
    "spikes": ("KD501",),
    "lr_schedule": ("KD501",),
    "grad_norm": ("KD501",),
    "plateau": ("KD501", "KD502"),
    "loss_floor": ("KD601",),
}


def fit(_examples: Sequence[Example]) -> Judge:
    """There is nothing to learn: the tool's own thresholds stand. Sick is an error. Needs the extra ``bench``."""
    tool = import_module("trainspotter")

    def judge(example: Example) -> Judgement:
        with trainer_state(example.metrics) as path:
            # Errors first, then warnings, then remarks.
            found = tool.run_all(tool.load_run(path))
        sick = any(finding.severity == "error" for finding in found)
        ranked = dict.fromkeys(chain.from_iterable(MEANS.get(finding.detector, ()) for finding in found))
        return Judgement(sick, tuple(ranked), 1.0 if sick else 0.0)

    return judge
