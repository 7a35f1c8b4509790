"""Examines a run for its checks: the diagnosis, and what each rule found, also one that ruled its fault out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kddoctor.engine.diagnosis import Diagnosis, judge
from kddoctor.engine.measuring import measure
from kddoctor.errors import one_line
from kddoctor.rules.finding import Finding
from kddoctor.rules.registry import all_rules
from kddoctor.run.directory import Run


@dataclass(frozen=True)
class Examined:
    """findings: by code, of every rule that could look. crashes: by code, one line each: rules that raised an error,
    which the diagnosis therefore leaves out.
    """

    diagnosis: Diagnosis
    task: str
    findings: Mapping[str, Finding]
    crashes: Mapping[str, str]


def examine(run: Run, *, select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Examined:
    """Diagnose a run. select, ignore: codes or prefixes. Raises RunError for values that cannot be measured.

    A rule that raises is an error of that check alone: it neither stops the others nor looks like a pass.
    """
    with np.errstate(all="ignore"):
        measured = measure(run)
    findings: dict[str, Finding] = {}
    crashes: dict[str, str] = {}
    ignored = {code for code in all_rules() if ignore and code.startswith(tuple(ignore))}
    for code, rule in all_rules().items():
        outside = (select and not code.startswith(tuple(select))) or (rule.only and run.manifest.task not in rule.only)
        if outside or code in ignored:
            continue
        try:
            found = rule(measured)
        except Exception as error:  # any rule, also one of another package, may be wrong in any way
            crashes[code] = one_line(f"the rule crashed: {type(error).__name__}: {error}")
        else:
            if isinstance(found, Finding):
                findings[code] = found
    diagnosis = judge(run.name, measured, select=select, ignore=ignored | set(crashes), warnings=run.warnings)
    return Examined(diagnosis, run.manifest.task, findings, crashes)
