"""A gate against regressions: figures of good runs, and whether a later run is worse than another seed would be."""

from kddoctor.baselines.baseline import Baseline, read_baseline
from kddoctor.baselines.comparing import Comparison, Gate, Regressions, compare
from kddoctor.baselines.saving import save_baseline

__all__ = ["Baseline", "Comparison", "Gate", "Regressions", "compare", "read_baseline", "save_baseline"]
