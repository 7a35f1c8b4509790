"""What a worker has to know to do as the process that asked would."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from kddoctor.errors import RunError
from kddoctor.run.directory import Run, load
from kddoctor.treatment.code_loading import LoadedCode, loaded_code


@dataclass(frozen=True)
class Place:
    """run: the run directory. directory: that relative paths in the run's own code start from."""

    run: Path
    directory: Path

    @classmethod
    def of(cls, run: Run) -> "Place":
        """The place that this process is at."""
        return cls(run.path.resolve(), Path.cwd())

    @contextmanager
    def entered(self) -> Iterator[tuple[Run, LoadedCode]]:
        """The run and its code, in a worker. One thread, so that sums come out alike wherever they are made.

        Raises RunError where this node does not see the run directory.
        """
        torch.set_num_threads(1)
        if self.directory.is_dir():
            os.chdir(self.directory)
        if not self.run.is_dir():
            advice = "the run and the output have to lie on a file system that all nodes share"
            raise RunError.plain(f"{self.run}: is not there on the Ray node {os.uname().nodename}; {advice}")
        run = load(self.run)
        with loaded_code(run) as code:
            yield run, code
