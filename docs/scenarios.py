"""Three distillations of other kinds than the demo's, each with one mistake, and their reports.

``python docs/scenarios.py runs reports`` trains text (20 Newsgroups, transformer to BiLSTM), a recommender (MovieLens,
two towers to two smaller ones) and a language model, records them below ``runs`` and writes ``scenario-*.html``. They
are tasks and faults of the benchmark; all three take two minutes.
"""

import sys
from pathlib import Path

from kddoctor import diagnose, load
from kddoctor.bench.distil import distil
from kddoctor.bench.fault import Level, all_faults
from kddoctor.bench.states import States
from kddoctor.bench.task import find_task
from kddoctor.engine.measuring import measure
from kddoctor.files import write_whole
from kddoctor.report.html import render_html

#: Name of the report: task and fault. In each the mistake is one that people reported from loops of this kind.
SCENARIOS = {
    "text": ("newsgroups", "KD106"),
    "recommender": ("movielens", "KD902"),
    "language-model": ("language", "KD803"),
}


def report(name: str, runs: Path, reports: Path) -> Path:
    """Record one scenario, diagnose it and write its report."""
    task_name, code = SCENARIOS[name]
    task = find_task(task_name)
    recipe = all_faults()[code].seen[0](task.recipe, Level.SEVERE)
    run_dir = distil(runs / name, task, recipe, seed=1, states=States(runs / "states")).path
    run = load(run_dir)
    path = reports / f"scenario-{name}.html"
    write_whole(path, render_html(diagnose(run), run, measured=measure(run)))
    return path


def main() -> None:
    """All of them."""
    runs, reports = map(Path, sys.argv[1:3])
    for name in SCENARIOS:
        sys.stdout.write(f"{report(name, runs, reports)}\n")


if __name__ == "__main__":
    main()
