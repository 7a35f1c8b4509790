"""What a treatment changes: taken from the diagnosis, readable as a diff before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kddoctor.engine.diagnosis import Diagnosis, FindingReport
from kddoctor.errors import UsageError
from kddoctor.run.manifest import Manifest

SECTIONS = ("distillation", "training")


@dataclass(frozen=True)
class LoopSettings:
    """What the manifest has no key for. column_permutation: new column j of the teacher is its old column list[j].

    probe_rate: look for a lower learning rate first.
    own_loss: the run's ``code.loss`` is kept; otherwise the declared loss is computed by kddoctor.
    """

    own_loss: bool = True
    column_permutation: tuple[int, ...] = ()
    probe_rate: bool = False
    clip_gradients: float | None = None


@dataclass(frozen=True)
class Plan:
    """One treatment before it is carried out. diff: lines for people."""

    code: str
    name: str
    summary: str
    safety: str
    changes: Mapping[str, Any]
    manifest: Manifest
    loop: LoopSettings
    diff: tuple[str, ...] = field(default=())


def make_plan(manifest: Manifest, diagnosis: Diagnosis, only: Sequence[str] = (), epochs: int | None = None) -> Plan:
    """Treat the first cause that can be treated. Raises UsageError where none can be."""
    finding = _first_treatable(diagnosis, only)
    prescription = finding.prescription
    assert prescription is not None
    treated, loop = apply_changes(manifest, prescription.changes)
    if epochs is not None:
        treated = _with(treated, "training", "epochs", epochs)
    return Plan(
        code=finding.code,
        name=finding.name,
        summary=prescription.summary,
        safety=prescription.safety,
        changes=dict(prescription.changes),
        manifest=treated,
        loop=loop,
        diff=tuple(_diff(manifest, treated, prescription.changes)),
    )


def change_lines(manifest: Manifest, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """What a prescription's changes are, as the lines of a diff of the settings."""
    treated, _ = apply_changes(manifest, changes)
    return tuple(_diff(manifest, treated, changes))


def apply_changes(manifest: Manifest, changes: Mapping[str, Any]) -> tuple[Manifest, LoopSettings]:
    """``distillation.*`` and ``training.*`` override the manifest, ``loss.*`` replaces the run's own loss function.

    The loop of a treatment always runs the teacher in evaluation mode and on the batch itself.
    """
    loop = LoopSettings()
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if section in SECTIONS:
            manifest = _with(manifest, section, name, value)
        if section in ("loss", "distillation"):
            loop = replace(loop, own_loss=False)
        if key == "treatment.column_permutation":
            loop = replace(loop, column_permutation=tuple(value))
        if key == "treatment.learning_rate":
            loop = replace(loop, probe_rate=True)
        if key == "treatment.clip_gradients":
            loop = replace(loop, clip_gradients=float(value))
    return manifest, loop


def _first_treatable(diagnosis: Diagnosis, only: Sequence[str]) -> FindingReport:
    causes = [c for c in diagnosis.causes if not only or c.code.startswith(tuple(only))]
    for cause in causes:
        if cause.prescription is not None and cause.prescription.automatic:
            return cause
    if causes:
        first = causes[0]
        advice = first.prescription.summary if first.prescription else "see its explain page"
        raise UsageError(f"{first.code} cannot be treated automatically: {advice} (kddoctor explain {first.code})")
    named = f" among {', '.join(only)}" if only else ""
    raise UsageError(f"{diagnosis.run}: there is nothing to treat{named}: the run is {diagnosis.verdict}")


def _with(manifest: Manifest, section: str, name: str, value: object) -> Manifest:
    part = getattr(manifest, section).model_copy(update={name: value})
    return manifest.model_copy(update={section: part})


def _diff(before: Manifest, after: Manifest, changes: Mapping[str, Any]) -> list[str]:
    lines = []
    for section in SECTIONS:
        old, new = getattr(before, section).model_dump(), getattr(after, section).model_dump()
        for name in new:
            if new[name] != old.get(name):
                lines += [f"- {section}.{name}: {_shown(old.get(name))}", f"+ {section}.{name}: {_shown(new[name])}"]
    for key, value in changes.items():
        if key.partition(".")[0] not in SECTIONS:
            lines.append(f"+ {key}: {_shown(value)}")
    return lines


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
