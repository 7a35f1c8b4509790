"""False failures and catches of the gate, on students that were really trained. ``python -m benchmarks.regressions``"""

import argparse

from benchmarks.measuring import single_thread, table  # before numpy: sets the threads

# isort: split
from datetime import date

import numpy as np
from scipy.stats import binomtest

from benchmarks.regressions.pools import Pool, pools
from benchmarks.regressions.tasks import OF_THE_PRIOR, OTHERS
from kddoctor.baselines.baseline import baseline_of
from kddoctor.baselines.comparing import Gate, compare_record
from kddoctor.baselines.record import Record

#: Runs that a baseline is made of.
RUNS = (1, 3, 5)


def share_failed(good: Pool, later: Pool, runs: int, draws: int, rng: np.random.Generator) -> float:
    """How often a run of ``later`` fails against a baseline of other runs of ``good``."""
    failed = 0
    for _ in range(draws):
        chosen = rng.permutation(len(good.records))
        baseline = baseline_of([good.records[i] for i in chosen[:runs]], reason="measured", saved=date.min)
        after = good.records[chosen[runs]] if later is good else later.records[rng.integers(len(later.records))]
        failed += bool(compare_record(after, baseline, Gate()).failed)
    return failed / draws


def mcnemar(good: Pool, draws: int, rng: np.random.Generator) -> float:
    """How often McNemar's test at the gate's level calls one of two seeds worse than the other."""
    return float(
        np.mean([_mcnemar(*(good.records[i] for i in rng.permutation(len(good.records))[:2])) for _ in range(draws)])
    )


def _mcnemar(before: Record, after: Record) -> bool:
    a, b = (record.figures["accuracy"].values > 0 for record in (before, after))
    lost, won = int((a & ~b).sum()), int((b & ~a).sum())
    return lost + won > 0 and binomtest(lost, lost + won, alternative="greater").pvalue <= Gate().level


def inflation(pool: Pool, figure: str) -> float:
    """Variance of a figure between seeds, over that of examples that flip each for itself."""
    values = np.stack([record.figures[figure].values for record in pool.records])
    return float(values.mean(axis=1).var(ddof=1) * values.shape[1] / values.var(axis=0, ddof=1).mean())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="runs of each recipe")
    parser.add_argument("--worse-seeds", type=int, default=40, help="runs of each worse recipe")
    parser.add_argument("--draws", type=int, default=1000, help="comparisons of each kind")
    parser.add_argument("--tasks", nargs="*", default=[*OF_THE_PRIOR, *OTHERS])
    asked = parser.parse_args()
    single_thread()
    noise, gate = [], []
    for name in asked.tasks:
        rng = np.random.default_rng(0)
        good, *worse = pools({**OF_THE_PRIOR, **OTHERS}[name](), asked.seeds, asked.worse_seeds)
        first = good.records[0]
        noise.append(
            (
                name,
                str(first.identity.rows),
                f"{good.metric} {good.values.mean():.3f}",
                f"{100 * good.values.std(ddof=1):.2f}",
                *(f"{inflation(good, figure):.1f}" for figure in ("accuracy", "agreement", "calibration error")),
                f"{mcnemar(good, asked.draws, rng):.1%}",
                *(f"{share_failed(good, good, runs, asked.draws, rng):.1%}" for runs in RUNS),
            )
        )
        gate += [
            (
                f"{name}: {pool.name}",
                f"{100 * pool.drop:.1f}",
                *(f"{share_failed(good, pool, runs, asked.draws // 2, rng):.0%}" for runs in RUNS),
            )
            for pool in worse
        ]
        print(noise[-1], *gate[-len(worse) :], sep="\n", flush=True)
    against = tuple(f"m = {runs}" for runs in RUNS)
    table(
        f"Re-runs with other seeds that fail, against baselines of m runs (level {Gate().level:.0%})",
        (
            "task",
            "rows",
            "metric",
            "sd, points",
            "inflation: accuracy",
            "agreement",
            "calibration",
            "McNemar",
            *against,
        ),
        noise,
    )
    table("Worse recipes that fail", ("task: what is worse", "points lost", *against), gate)


if __name__ == "__main__":
    main()
