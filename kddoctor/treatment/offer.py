"""What a treatment of some causes would change, in the terms of whoever carries it out: our own loop, or a script."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from kddoctor.engine.diagnosis import Diagnosis
from kddoctor.run.directory import Run
from kddoctor.treatment.plan import Plan
from kddoctor.treatment.prescription import Advice, prescribe
from kddoctor.treatment.scripts.script import runs_as_script
from kddoctor.treatment.scripts.treating import ScriptPlan, plan_script
from kddoctor.treatment.treat import plan_treatment


@dataclass(frozen=True)
class Offer:
    """A treatment before it is begun.

    plan: of the changes that can be carried out. command: of the run's own script, None where kddoctor's loop trains.
    diff: lines of kd_run.yaml, or, with a script, of its command line and of its settings file. doubts: places of the
    script that may not mean what ``code.keys`` says.
    """

    plan: Plan
    command: str | None
    diff: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The causes that something is changed for."""
        return self.plan.prescription.codes

    @property
    def by_hand(self) -> tuple[Advice, ...]:
        """What of these causes stays to be done, and what another cause overrules."""
        return (*self.plan.prescription.manual, *self.plan.prescription.left_out)


def usual_causes(run: Run, diagnosis: Diagnosis) -> tuple[str, ...]:
    """Those that ``kddoctor treat`` takes by itself. Raises UsageError where there is none."""
    return prescribe(run.manifest, diagnosis).codes


def offer_of(run: Run, diagnosis: Diagnosis, codes: Sequence[str], epochs: int | None = None) -> Offer:
    """Nothing is run, and no code imported.

    Raises UsageError where nothing can be changed, RunError where the script or its settings cannot be read.
    """
    if runs_as_script(run.manifest, asked=False):
        planned = plan_script(run, diagnosis=diagnosis, only=codes, epochs=epochs)
        return Offer(planned.plan, planned.changed.command, _script_lines(planned), planned.changed.doubts)
    plan = plan_treatment(run, diagnosis=diagnosis, only=codes, epochs=epochs)
    return Offer(plan, None, plan.diff)


def _script_lines(planned: ScriptPlan) -> tuple[str, ...]:
    """The command line before and after where an argument changes, then the settings file's lines."""
    before = shlex.join(("python", *planned.script.words))
    words = () if before == planned.changed.command else (f"- {before}", f"+ {planned.changed.command}")
    return (*words, *planned.changed.diff)
