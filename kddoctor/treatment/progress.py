"""Progress of a treatment: in its journal, and on stderr as a bar on a terminal, otherwise a line every half minute."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kddoctor.treatment.journal import Journal
from kddoctor.treatment.retrain import Progress as Report

QUIET_SECONDS = 30.0


@contextmanager
def shown_progress(code: str, journal: Journal, *, quiet: bool) -> Iterator[Report]:
    """A function to call after every epoch with (epoch, epochs, accuracy on held-out rows)."""
    with _on_stderr(code, quiet=quiet) as shown:

        def report(epoch: int, epochs: int, accuracy: float) -> None:
            journal.epoch(epoch, epochs, accuracy)
            shown(epoch, epochs, accuracy)

        yield report


@contextmanager
def _on_stderr(code: str, *, quiet: bool) -> Iterator[Report]:
    console = Console(stderr=True)
    if quiet:
        yield lambda _epoch, _epochs, _accuracy: None
    elif not console.is_terminal:
        yield _line_by_line(code)
    else:
        columns = (
            TextColumn(f"treating {code}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[quality]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None, quality="")

            def advance(epoch: int, epochs: int, accuracy: float) -> None:
                bar.update(task, completed=epoch, total=epochs, quality=f"student {accuracy:.1%}")

            yield advance


def _line_by_line(code: str) -> Report:
    last = time.monotonic()

    def report(epoch: int, epochs: int, accuracy: float) -> None:
        nonlocal last
        if epoch == epochs or time.monotonic() - last >= QUIET_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"treating {code}: epoch {epoch} of {epochs}, student {accuracy:.1%}\n")

    return report
