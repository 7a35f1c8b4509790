"""The demo: record a sick distillation of real images, diagnose it, treat it, diagnose it again."""

import difflib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from kddoctor.demo.distil import distil
from kddoctor.demo.faults import DEFAULT, FAULTS, HEALTHY, find_fault
from kddoctor.engine import Diagnosis, diagnose
from kddoctor.errors import UsageError
from kddoctor.run import load
from kddoctor.treatment.treat import Treatment, treat

Echo = Callable[[str], object]

#: What a demo leaves in its directories.
WRITTEN = frozenset(
    {
        "kd_run.yaml",
        "predictions",
        "steps.safetensors",
        "metrics.jsonl",
        "observations.json",
        "fingerprints",
        "checkpoints",
        "recipe.py",
        "__pycache__",
        "treatment.json",
        "checkpoint.pt",
        "checkpoint.pt.partial",
    }
)


def list_faults() -> list[str]:
    """One line for every demo."""
    return [f"{f.code or '-':<6} {f.name:<28} {f.story}" for f in (HEALTHY, *FAULTS)]


def run_demo(
    name: str | None,
    directory: Path,
    *,
    seed: int,
    echo: Echo,
    show_diagnosis: Callable[[Diagnosis, Path], object],
    show_treatment: Callable[[Treatment, Path], object],
) -> int:
    """Run one demo and return the exit status: 0 when the sick run was treated, or needs a human hand.

    The runs land in ``directory``/<name> and <name>-treated; an earlier demo of the same name is replaced.
    Raises UsageError for an unknown name, and where something that is no demo is in the way.
    """
    fault = find_fault(name or DEFAULT)
    if fault is None:
        near = difflib.get_close_matches(name or "", [f.name for f in FAULTS], n=1)
        hint = f"did you mean {near[0]}?" if near else "`kddoctor demo --list` shows them all"
        raise UsageError(f"there is no demo {name}; {hint}")
    sick, treated = directory / fault.name, directory / f"{fault.name}-treated"
    _make_room((sick, treated, directory / f".{treated.name}.treating"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory}: cannot be made: {error.strerror or error}") from None
    # The tensors are tiny: on a busy machine, threads that wait for one another take longer than the work.
    torch.set_num_threads(1)
    echo(f"1  {fault.story}")
    echo(f"   Training a teacher and distilling a student on scikit-learn's digits, recorded into {sick}\n")
    distil(sick, fault, seed=seed)
    diagnosis = diagnose(load(sick))
    show_diagnosis(diagnosis, sick)
    if diagnosis.verdict == "healthy":
        return 0
    treatable = [c for c in diagnosis.causes if c.prescription and c.prescription.automatic]
    if not treatable:
        echo("\n2  This one needs a human hand: see `where` and `fix` above.")
        return 0
    echo(f"\n2  Treating it: {treatable[0].prescription.summary if treatable[0].prescription else ''}")
    treatment = treat(load(sick), treated, diagnosis=diagnosis)
    show_treatment(treatment, treated)
    echo("\n3  The treated run, diagnosed again\n")
    show_diagnosis(diagnose(load(treated)), treated)
    return 0


def _make_room(paths: Sequence[Path]) -> None:
    """Remove an earlier demo, and nothing else: one file that no demo writes, and everything stays."""
    there = [path for path in paths if os.path.lexists(path)]
    for path in there:
        ours = path.is_dir() and not path.is_symlink() and all(entry.name in WRITTEN for entry in path.iterdir())
        if not ours:
            raise UsageError(f"{path}: is in the way and holds what no demo has written; choose another --output")
    for path in there:
        shutil.rmtree(path)
