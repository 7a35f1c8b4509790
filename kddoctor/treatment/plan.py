"""A prescription applied: the manifest and the loop of a treatment, and what differs, as text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kddoctor.errors import UsageError
from kddoctor.run.manifest import Manifest
from kddoctor.run.manifest_errors import manifest_error
from kddoctor.treatment.loop_settings import LoopSettings
from kddoctor.treatment.prescription import Prescription
from kddoctor.treatment.remedies import REMEDIES, SECTIONS


@dataclass(frozen=True)
class Plan:
    """One treatment before it is carried out. manifest: as the treated run will have it."""

    prescription: Prescription
    before: Manifest
    manifest: Manifest
    loop: LoopSettings

    @property
    def code(self) -> str:
        """The first cause that is treated."""
        return self.prescription.codes[0]

    @property
    def changes(self) -> Mapping[str, Any]:
        """Key to new value."""
        return {change.key: change.after for change in self.prescription.changes}

    @property
    def summary(self) -> str:
        """What is changed, in words, for all causes."""
        return "; ".join(dict.fromkeys(change.what for change in self.prescription.changes))

    @property
    def diff(self) -> tuple[str, ...]:
        """Lines for people: kd_run.yaml's keys before and after, then what the loop does."""
        lines = []
        for section in SECTIONS:
            old, new = getattr(self.before, section).model_dump(), getattr(self.manifest, section).model_dump()
            for name in new:
                if new[name] != old.get(name):
                    lines += [f"- {section}.{name}: {_said(old.get(name))}", f"+ {section}.{name}: {_said(new[name])}"]
        lines += [f"+ {k}: {_said(value)}" for k, value in self.changes.items() if k.partition(".")[0] not in SECTIONS]
        return tuple(lines)

    @property
    def snippet(self) -> tuple[str, ...]:
        """Lines for the user's own loop."""
        pieces = (REMEDIES[key].snippet.replace("{value}", _said(value)) for key, value in self.changes.items())
        return tuple(line for piece in dict.fromkeys(pieces) for line in piece.splitlines())

    @property
    def signature(self) -> str:
        """What has to be the same for an interrupted treatment to be gone on with."""
        section = self.manifest.training.model_dump(mode="json")
        return json.dumps([self.code, dict(self.changes), section], sort_keys=True, default=str)


def make_plan(manifest: Manifest, prescription: Prescription, epochs: int | None = None) -> Plan:
    """Apply every change, in order. epochs: instead of the run's own.

    The loop of a treatment always runs the teacher in evaluation mode and on the batch itself. Raises UsageError for a
    value that a key cannot have.
    """
    treated, loop = manifest, LoopSettings()
    for change in prescription.changes:
        section, _, name = change.key.partition(".")
        try:
            if section in SECTIONS:
                treated = _with(treated, section, name, change.after)
            loop = REMEDIES[change.key].apply(loop, change.after)
        except (TypeError, ValueError) as error:
            found = f"{change.key} is {_said(change.after)}"
            why = str(error)
            if isinstance(error, ValidationError):
                why = str(manifest_error(error, section, type(getattr(manifest, section))))
            raise UsageError(f"the prescription's {found}, which cannot be: {why}") from None
    if epochs is not None:
        treated = _with(treated, "training", "epochs", epochs)
    return Plan(prescription, manifest, treated, loop)


def _with(manifest: Manifest, section: str, name: str, value: object) -> Manifest:
    part = getattr(manifest, section)
    checked = type(part).model_validate({**part.model_dump(), name: value})
    return manifest.model_copy(update={section: checked})


def _said(value: object) -> str:
    return "not set" if value is None else str(value)
