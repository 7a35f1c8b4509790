"""The page about treatments names all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import kddoctor
from kddoctor.treatment.experiments import ablation, plain_loop
from kddoctor.treatment.experiments.choosing import EXPERIMENTS
from kddoctor.treatment.result import Treatment

PAGE = (Path(kddoctor.__file__).parents[1] / "docs" / "treatment.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table below a heading."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_experiment_is_in_its_table():
    names = [experiment.name for experiment in (plain_loop.EXPERIMENT, *EXPERIMENTS)]
    assert first_cells("Experiments") == [*names, ablation.NAME]


def test_every_key_of_treatment_json_is_in_its_table():
    assert set(first_cells("What is written")) == set(Treatment.model_fields)


def test_what_an_experiment_needs_is_in_its_table():
    for experiment in EXPERIMENTS:
        needed = re.match(r"[a-z]+\.[a-z_]+", experiment.needs)
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{experiment.name}` |"))
        assert needed is None or f"`{needed[0]}`" in row
