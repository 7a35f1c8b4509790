"""Entropy at 40 temperatures: ours against torch loops. Run as ``python -m benchmarks.temperature_sweep``."""

import argparse
import tracemalloc
from collections.abc import Callable
from functools import partial

from benchmarks.measuring import medians, single_thread, table  # before numpy: sets the number of threads

# isort: split
import numpy as np
import torch
from scipy.special import log_softmax

from kddoctor.probes.entropy_sweep import EntropySweep
from kddoctor.probes.soft_targets import SoftTargetsProbe

ANY_GRID = tuple(float(t) for t in np.linspace(0.5, 20.0, 40))
GEOMETRIC_GRID = tuple(0.5 * 2.0 ** (step / 6) for step in range(40))
SHAPES = ((5_000, 1_000), (50, 128_000))
MEMORY_SHAPE = (50_000, 1_000)
CHECKED_ROWS = 200


def log_softmax_loop(logits: torch.Tensor, grid: tuple[float, ...]) -> list[float]:
    """The usual way."""
    means = []
    for temperature in grid:
        log_p = torch.log_softmax(logits / temperature, dim=1)
        means.append(float(-(log_p.exp() * log_p).sum(dim=1).mean()))
    return means


def categorical_loop(logits: torch.Tensor, grid: tuple[float, ...]) -> list[float]:
    """The convenient way."""
    return [float(torch.distributions.Categorical(logits=logits / t).entropy().mean()) for t in grid]


def sweep(logits: np.ndarray, grid: tuple[float, ...]) -> np.ndarray:
    """Our kernel alone: [K, n] entropies."""
    kernel = EntropySweep(grid, logits.shape[1])
    parts = []
    for start in range(0, len(logits), kernel.rows):
        block = logits[start : start + kernel.rows]
        kernel.load(block, block.argmax(axis=1))
        parts.append(kernel.measure(len(block))[0])
    return np.concatenate(parts, axis=1)


def probe(logits: np.ndarray, grid: tuple[float, ...]) -> np.ndarray:
    """The whole probe: medians, classes and non-target logits as well."""
    soft_targets = SoftTargetsProbe(grid, logits.shape[1])
    soft_targets.update(logits)
    return soft_targets.compute().entropy


def largest_error(logits: np.ndarray, grid: tuple[float, ...]) -> float:
    """Largest error of any row's entropy against float64, in nats."""
    rows = logits[:CHECKED_ROWS]
    found, worst = sweep(rows, grid), 0.0
    for index, temperature in enumerate(grid):
        log_p = log_softmax(rows.astype(np.float64) / temperature, axis=1)
        worst = max(worst, float(np.abs(found[index] + (np.exp(log_p) * log_p).sum(axis=1)).max()))
    return worst


def extra_memory(work: Callable[[], object]) -> float:
    """Peak of what numpy allocates meanwhile, in MB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    single_thread()
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        logits = (rng.normal(size=shape) * 3).astype(np.float32)
        tensor = torch.from_numpy(logits)
        seconds = medians(
            {
                "torch.log_softmax per temperature": partial(log_softmax_loop, tensor, ANY_GRID),
                "torch Categorical.entropy": partial(categorical_loop, tensor, ANY_GRID),
                "ours, any grid": partial(sweep, logits, ANY_GRID),
                "ours, geometric grid": partial(sweep, logits, GEOMETRIC_GRID),
                "ours, whole probe, any grid": partial(probe, logits, ANY_GRID),
                "ours, whole probe, geometric grid": partial(probe, logits, GEOMETRIC_GRID),
            },
            runs,
        )
        base = seconds["torch.log_softmax per temperature"]
        rows = [(name, f"{value:.3f}", f"{base / value:.1f}x") for name, value in seconds.items()]
        table(f"{shape[0]} x {shape[1]}, 40 temperatures", ("", "CPU s", "of log_softmax"), rows)
        for name, grid in (("any", ANY_GRID), ("geometric", GEOMETRIC_GRID)):
            print(f"largest error of a row, {name} grid: {largest_error(logits, grid):.1e} nats")
    logits = rng.standard_normal(MEMORY_SHAPE, dtype=np.float32)
    memory = extra_memory(lambda: probe(logits, GEOMETRIC_GRID))
    print(f"\nextra memory of the whole probe, {MEMORY_SHAPE[0]} x {MEMORY_SHAPE[1]}: {memory:.0f} MB")


if __name__ == "__main__":
    main()
