"""Progress of a training on stderr: a bar on a terminal, otherwise a line every half minute."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kddoctor.treatment.training import Progress as Report

QUIET_SECONDS = 30.0


@contextmanager
def shown_progress(doing: str, *, quiet: bool, whose: str = "student") -> Iterator[Report]:
    """A function to call after every epoch with (epoch, epochs, accuracy on held-out rows).

    doing: what the progress is of, such as "treating KD202". whose: the model that the accuracy is of.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda _epoch, _epochs, _accuracy: None
    elif not console.is_terminal:
        yield _line_by_line(doing, whose)
    else:
        columns = (
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[quality]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None, quality="")

            def advance(epoch: int, epochs: int, accuracy: float) -> None:
                bar.update(task, completed=epoch, total=epochs, quality=f"{whose} {accuracy:.1%}")

            yield advance


def _line_by_line(doing: str, whose: str) -> Report:
    last = time.monotonic()

    def report(epoch: int, epochs: int, accuracy: float) -> None:
        nonlocal last
        if epoch == epochs or time.monotonic() - last >= QUIET_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"{doing}: epoch {epoch} of {epochs}, {whose} {accuracy:.1%}\n")

    return report
