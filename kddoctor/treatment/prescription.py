"""What to change about a run, why, and how safely: declarative, readable, and the same thing as a diff or as code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from kddoctor.engine.diagnosis import Diagnosis, FindingReport
from kddoctor.errors import RunError, UsageError
from kddoctor.rules.finding import Safety
from kddoctor.run.manifest import Manifest
from kddoctor.run.manifest_errors import manifest_error
from kddoctor.run.paths import read_text, reason
from kddoctor.run.spelling import nearest
from kddoctor.run.yaml_text import dump_yaml, parse_yaml
from kddoctor.treatment.experiments.plain_loop import SEEDS
from kddoctor.treatment.remedies import REMEDIES, SECTIONS

PRESCRIPTION = "prescription.yaml"
MAX_BYTES = 1 << 20
#: Causes that were proven or shown by an intervention; the others are treated only where there is none of these.
SHOWN = ("confirmed", "probable")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Part):
    """One key. before: None where it was not set. why: the finding's summary. finding: its code."""

    key: str
    before: Any = None
    after: Any
    finding: str
    name: str = ""
    why: str = ""
    what: str = ""
    safety: Safety = "safe"

    @field_validator("key")
    @classmethod
    def _known(cls, key: str) -> str:
        if key not in REMEDIES:
            near = nearest(key, REMEDIES)
            raise ValueError(f"a key that a treatment can change{f'; did you mean {near}?' if near else ''}")
        return key


class Advice(_Part):
    """What only its author can do, or what was left out because another cause comes first."""

    finding: str
    name: str
    what: str


class Prescription(_Part):
    """``prescription.yaml``. changes: in the order of the diagnosis. manual: by hand. left_out: not carried out."""

    format: Literal[1] = 1
    run: str
    changes: tuple[Change, ...]
    manual: tuple[Advice, ...] = ()
    left_out: tuple[Advice, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The causes that are treated, in their order."""
        return tuple(dict.fromkeys(change.finding for change in self.changes))

    def to_yaml(self) -> str:
        """The file's text."""
        return dump_yaml(self.model_dump(mode="json"))

    def for_code(self, code: str) -> Self:
        """Its changes alone."""
        return self.model_copy(update={"changes": tuple(c for c in self.changes if c.finding == code)})

    def without(self, code: str) -> Self:
        """All changes but those of one cause."""
        return self.model_copy(update={"changes": tuple(c for c in self.changes if c.finding != code)})


def prescribe(manifest: Manifest, diagnosis: Diagnosis, only: Sequence[str] = ()) -> Prescription:
    """For every cause that was shown and that a retraining can treat; for the first one where none was shown.

    only: codes, or beginnings of codes, to treat; without, a mere note is not treated. Of two causes that would change
    one key, the likelier has its way.
    Raises UsageError where nothing can be treated.
    """
    causes = [c for c in diagnosis.causes if (c.code.startswith(tuple(only)) if only else c.severity != "note")]
    treatable = [c for c in causes if c.prescription is not None and c.prescription.automatic]
    if not treatable:
        raise UsageError(_nothing_to_treat(manifest, diagnosis, causes, only))
    # Whoever names codes has decided; otherwise a suspicion does not ride along with what was shown.
    treated = treatable if only else ([c for c in treatable if c.status.startswith(SHOWN)] or treatable[:1])
    changes: dict[str, Change] = {}
    left_out: list[Advice] = []
    for cause in treated:
        for change in _changes(manifest, cause):
            other = changes.setdefault(change.key, change)
            if other.after != change.after:
                what = f"{change.key}: {change.after}, for {other.finding} sets it to {other.after}"
                left_out.append(Advice(finding=cause.code, name=cause.name, what=what))
    return Prescription(
        run=diagnosis.run,
        changes=tuple(changes.values()),
        manual=tuple(
            Advice(finding=c.code, name=c.name, what=c.prescription.summary)
            for c in causes
            if c.prescription is not None and not c.prescription.automatic
        ),
        left_out=(*left_out, *(_not_shown(c) for c in treatable if c not in treated)),
    )


def prescribe_or_ask(manifest: Manifest, diagnosis: Diagnosis, only: Sequence[str], trials: int) -> Prescription:
    """As ``prescribe``; nothing yet, where experiments are to look for what helps.

    A run that looks healthy is in doubt only to whoever gives trials, and to them a plain loop is the answer.
    """
    try:
        return prescribe(manifest, diagnosis, only)
    except UsageError:
        askable = diagnosis.verdict != "healthy" or _names_functions(manifest)
        if not trials or not askable:
            raise
        return Prescription(run=diagnosis.run, changes=())


def is_a_guess(prescription: Prescription, diagnosis: Diagnosis) -> bool:
    """Whether a cause was not shown, or another value than the prescribed one may mend it better."""
    shown = {cause.code for cause in diagnosis.causes if cause.status.startswith(SHOWN)}
    return any(change.safety != "safe" or change.finding not in shown for change in prescription.changes)


def read_prescription(path: Path) -> Prescription:
    """A file that was written by ``treat --write-prescription``, edited or not. Raises UsageError, one line."""
    try:
        data = parse_yaml(read_text(path, path.name, MAX_BYTES), path.name)
        if not isinstance(data, dict):
            raise UsageError(f"{path}: holds {type(data).__name__}; expected a prescription with run and changes")
        prescription = Prescription.model_validate(data)
    except ValidationError as error:
        raise UsageError(str(manifest_error(error, path.name, Prescription))) from None
    except RunError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {reason(error)}") from None
    if not prescription.changes:
        raise UsageError(f"{path}: changes is empty; there is nothing to treat")
    return prescription


def _changes(manifest: Manifest, cause: FindingReport) -> list[Change]:
    prescription = cause.prescription
    assert prescription is not None
    return [
        Change(
            key=key,
            before=present_value(manifest, key),
            after=value,
            finding=cause.code,
            name=cause.name,
            why=cause.summary,
            what=prescription.summary,
            safety=prescription.safety,
        )
        for key, value in prescription.changes.items()
    ]


def present_value(manifest: Manifest, key: str) -> Any:
    """What a run has for a key of its manifest; None where it says nothing, or the key is the loop's own."""
    section, _, name = key.partition(".")
    return getattr(getattr(manifest, section), name, None) if section in SECTIONS else None


def _not_shown(cause: FindingReport) -> Advice:
    return Advice(finding=cause.code, name=cause.name, what=f"{cause.status} only; --only {cause.code} treats it alone")


def _nothing_to_treat(
    manifest: Manifest, diagnosis: Diagnosis, causes: Sequence[FindingReport], only: Sequence[str]
) -> str:
    if causes:
        first = causes[0]
        advice = first.prescription.summary if first.prescription else "see its explain page"
        return f"{first.code} cannot be treated automatically: {advice} (kddoctor explain {first.code})"
    named = f" among {', '.join(only)}" if only else ""
    doubt = " if you doubt that," if diagnosis.verdict == "healthy" else ""
    askable = not only and _names_functions(manifest)
    more = f";{doubt} --trials {SEEDS} asks whether a plain loop does better" if askable else ""
    return f"{diagnosis.run}: there is nothing to treat{named}: the run is {diagnosis.verdict}{more}"


def _names_functions(manifest: Manifest) -> bool:
    return manifest.code is not None and manifest.code.names_functions
