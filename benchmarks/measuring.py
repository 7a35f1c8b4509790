"""One thread, processor seconds, medians: the setting in which ratios between programs mean something."""

import os
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

# Read when the libraries are loaded, so this module comes before numpy and torch.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"


def single_thread() -> None:
    """Keep torch to one thread, too."""
    import torch

    torch.set_num_threads(1)


def medians(candidates: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Median processor seconds of each candidate; they take turns, so that noise falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(runs):
        for name, work in candidates.items():
            started = time.process_time()
            work()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peer(module: str) -> ModuleType | None:
    """The imported module, or None with a line that says why it cannot take part."""
    try:
        return import_module(module)
    except Exception as error:  # a peer may fail in any way while it loads
        print(f"{module} does not take part: {type(error).__name__}: {error}")
        return None


def table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    print(f"\n{title}")
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells))
