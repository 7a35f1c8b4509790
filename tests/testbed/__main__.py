"""`make testbed`: every fault and every healthy variant, several seeds; a table, top-1 accuracy and false alarms.

Exit status 1 when a healthy run is called sick, or a fault is called by another's name.
"""

# ruff: noqa: T201 - a table on stdout is the point
from __future__ import annotations

import argparse
import sys

from tests.testbed.bench import Result, results, score
from tests.testbed.variants import FAULTY_VARIANTS, HEALTHY_VARIANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (default 0)")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = []
    print(f"{'fault':<8}{'variant':<28}{'seed':>4}  {'student':>7}  {'verdict':<13}causes")
    for result in results((*HEALTHY_VARIANTS, *FAULTY_VARIANTS), seeds):
        found.append(result)
        _show(result)
    total = score(found)
    print(f"\n{total}")
    wrong = total.faults - total.top1 - total.silent
    return 1 if total.false_alarms or wrong else 0


def _show(result: Result) -> None:
    student = "" if result.student is None else f"{result.student:.1%}"
    mark = "" if result.right else "   <-- wrong" if result.verdict == "sick" else "   <-- silent"
    code, name = result.variant.code or "-", result.variant.name
    causes = ", ".join(result.found) or "-"
    print(f"{code:<8}{name:<28}{result.seed:>4}  {student:>7}  {result.verdict:<13}{causes}{mark}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
