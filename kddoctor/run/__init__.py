"""The run directory: reading, writing and recording it."""

from kddoctor.run.directory import Run, load
from kddoctor.run.writer import write_run

__all__ = ["Run", "load", "write_run"]
