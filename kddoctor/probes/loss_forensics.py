"""Loss forensics: which formula reproduces the losses that the training loop recorded?

The recorded logits of a step determine what every candidate formula would have returned. The formula whose
value is one constant times the recorded loss *on every step* is the one that ran; the constant then names
reduction, temperature factor and weight. Identities, not correlations: the tolerance is numerical noise.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kddoctor.probes.loss_results import Declared, LossForensics, Mix, TermFit
from kddoctor.probes.loss_search import Search, SearchSpace
from kddoctor.probes.loss_steps import Link, RecordedSteps, StepSums, read_step

__all__ = ["Declared", "LossForensics", "LossForensicsProbe", "Mix", "RecordedSteps", "TermFit", "investigate"]

#: Largest relative error of an identity, by the precision in which the logits were recorded.
TOLERANCE: Mapping[str, float] = {"F64": 1e-4, "F32": 1e-4, "F16": 2e-2, "BF16": 5e-2}

#: A grid point this close to the truth is worth a finer look, in so many passes.
NEAR_MISS = 0.05
REFINEMENTS = 10

COMMON_TEMPERATURES = (
    0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0,
    12.0, 15.0, 16.0, 20.0, 25.0, 30.0, 32.0, 40.0, 50.0,
)  # fmt: skip
#: The rarer views are searched at fewer temperatures: they cost a pass each.
FEW_TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)


class LossForensicsProbe:
    """Accumulates recorded steps; ``compute`` searches the grammar."""

    def __init__(
        self,
        declared: Declared,
        *,
        link: Link = "softmax",
        precision: str = "F32",
        weighted_terms: bool = False,
        temperatures: Sequence[float] = (),
    ) -> None:
        self.declared = declared
        self.link: Link = link
        self.precision = precision
        self.weighted_terms = weighted_terms
        extra = [t for t in (declared.temperature, *temperatures) if t]
        self.temperatures = tuple(sorted({*COMMON_TEMPERATURES, *extra}))
        self.few = tuple(sorted({*FEW_TEMPERATURES, *extra}))
        self.steps: list[StepSums] = []
        self.classes = 0

    def update(self, chunk: RecordedSteps) -> None:
        """Add a chunk of steps."""
        for k in range(len(chunk.loss)):
            self.steps.append(read_step(chunk, k, self.link, self.temperatures, self.few))
        self.classes = 2 if self.link == "sigmoid" else chunk.student_logits.shape[-1]

    def merge(self, other: "LossForensicsProbe") -> None:
        """Add another worker's steps."""
        self.steps.extend(other.steps)
        self.classes = max(self.classes, other.classes)

    def compute(self) -> LossForensics:
        """Search the grammar. Raises ValueError when no step was added."""
        if not self.steps:
            raise ValueError("loss forensics needs at least one recorded step")
        space = SearchSpace(
            declared=self.declared,
            tolerance=TOLERANCE.get(self.precision, TOLERANCE["F32"]),
            weighted_terms=self.weighted_terms,
            temperatures=self.temperatures,
            few=self.few,
            classes=self.classes,
        )
        return Search(space, self.steps).run()


def investigate(make_probe: Callable[[tuple[float, ...]], LossForensicsProbe]) -> LossForensics:
    """Search; where nothing on the grid of temperatures fits, look between its points and search again.

    make_probe: builds a probe with these extra temperatures and feeds it the recorded steps.
    """
    result = make_probe(()).compute()
    closest = result.closest
    if result.term is not None or closest is None or closest.temperature is None:
        return result
    if result.closest_error > NEAR_MISS:
        return result
    low, high = np.log(closest.temperature / 1.4), np.log(closest.temperature * 1.4)
    first = (low, high)
    for _ in range(REFINEMENTS):
        # A bracket of seven temperatures a pass: each pass narrows it threefold, to 1e-6 at the end.
        grid = np.exp(np.linspace(low, high, 7))
        found = make_probe(tuple(map(float, grid))).compute()
        if found.closest is None or found.closest.temperature is None:
            return result
        middle, reach = np.log(found.closest.temperature), (high - low) / 6
        # Never beyond the first bracket: that way lies the flat end, where every loss looks alike.
        low, high = max(first[0], middle - reach), min(first[1], middle + reach)
        result = found
    return result
