"""Measurements of sequences."""

from collections.abc import Iterator

from kddoctor.engine.measuring.splits import Measured
from kddoctor.engine.measuring.token_positions import measure_positions
from kddoctor.probes.loss_forensics import LossForensics
from kddoctor.run.directory import Run


def measurements(run: Run, measured: Measured) -> Iterator[object]:
    """What the record allows to be measured. Raises RunError for values that nothing can read."""
    yield from measure_positions(run, measured.get(LossForensics))
