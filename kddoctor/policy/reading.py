"""Finding and reading kddoctor.toml, or the section of pyproject.toml that stands for it."""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kddoctor.errors import UsageError, shown
from kddoctor.policy.policy import Accepted, FailOn, Held, Policy
from kddoctor.rules.finding import Severity
from kddoctor.rules.naming import code_or_prefix
from kddoctor.rules.registry import all_rules
from kddoctor.rules.settings import settings_of
from kddoctor.run.manifest_errors import manifest_error
from kddoctor.run.spelling import nearest

FILE, PROJECT_FILE = "kddoctor.toml", "pyproject.toml"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    # Strict, so that nothing is taken for what it merely resembles ("0.9", true).
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Targets(_Part):
    retention: Positive | None = None
    latency_ms: Positive | None = None
    size_mb: Positive | None = None


class _Accepted(_Part):
    code: str
    reason: Annotated[str, Field(min_length=1)]
    expires: date | None = None
    run: Annotated[str, Field(min_length=1)] = "*"


#: Figures that a baseline has, as they are named in its table; of recalls the worst class is compared.
FIGURES = ("accuracy", "agreement", "retention", "calibration error", "auc", "ndcg", "recall")
GROWING = ("latency_ms", "size_mb", "parameters")


class _Baseline(_Part):
    file: Annotated[str, Field(min_length=1)]
    run: Annotated[str, Field(min_length=1)] = "*"
    level: Annotated[float, Field(gt=0, le=0.5)] | None = None
    margins: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}


class _File(_Part):
    select: list[str] = []
    ignore: list[str] = []
    require: list[str] = []
    severity: dict[str, Severity] = {}
    targets: _Targets = _Targets()
    accepted: list[_Accepted] = []
    fail_on: Annotated[FailOn, Field(alias="fail-on")] = "warning"
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    baseline: _Baseline | None = None


def read_policy(start: Path, file: Path | None = None) -> Policy:
    """The policy of ``file``; without one, of the nearest kddoctor.toml, or pyproject.toml with [tool.kddoctor], in
    ``start`` or above it (kddoctor.toml first). The default policy where there is none.

    ``start`` is where the user works, never a run directory: whoever wrote the run would judge it.
    Raises UsageError, in one line that names file and key, for anything that it cannot mean.
    """
    path, data = _nearest(start) if file is None else _given(file)
    return Policy() if path is None else _policy(path, data)


def _nearest(start: Path) -> tuple[Path | None, dict[str, Any]]:
    for folder in (start.resolve(), *start.resolve().parents):
        own, project = folder / FILE, folder / PROJECT_FILE
        if own.is_file():
            return own, _parsed(own)
        if project.is_file():
            section = _section(project)
            if section is not None:
                return project, section
    return None, {}


def _given(file: Path) -> tuple[Path, dict[str, Any]]:
    if file.name != PROJECT_FILE:
        return file, _parsed(file)
    section = _section(file)
    if section is None:
        raise UsageError(f"{file}: has no section [tool.kddoctor]")
    return file, section


def _section(project: Path) -> dict[str, Any] | None:
    tools = _parsed(project).get("tool")
    section = tools.get("kddoctor") if isinstance(tools, dict) else None
    if section is None or isinstance(section, dict):
        return section
    raise UsageError(f"{project}: tool.kddoctor is {shown(section)}; expected keys and values")


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: is not TOML: {error}") from None


def _policy(path: Path, data: Mapping[str, Any]) -> Policy:
    place = str(path)
    general = {key: value for key, value in data.items() if key.upper() not in all_rules()}
    _refuse_unknown(place, general)
    try:
        read = _File.model_validate(general)
    except ValidationError as error:
        raise UsageError(str(manifest_error(error, place, _File))) from None
    policy = Policy(
        file=path,
        select=_codes(place, "select", read.select),
        ignore=_codes(place, "ignore", read.ignore),
        require=tuple(_code(place, "require", code) for code in read.require),
        severity=dict(zip(_codes(place, "severity", read.severity), read.severity.values(), strict=True)),
        targets=read.targets.model_dump(exclude_none=True),
        accepted=tuple(
            Accepted(_code(place, "accepted.code", a.code), a.reason, a.expires, a.run) for a in read.accepted
        ),
        fail_on=read.fail_on,
        confidence=read.confidence,
        baseline=_held(path, read.baseline),
        settings={key.upper(): _settings(place, key, data[key]) for key in data if key not in general},
    )
    _refuse_contradictions(place, policy)
    return policy


def _held(path: Path, read: _Baseline | None) -> Held | None:
    """The file of a baseline is looked for beside the policy."""
    if read is None:
        return None
    _refuse(str(path), "baseline.margins.", read.margins, (*FIGURES, *GROWING))
    return Held(path.parent / read.file, read.run, read.level, dict(read.margins))


def _refuse_contradictions(place: str, policy: Policy) -> None:
    for code in policy.require:
        if code.startswith(policy.ignore) or (policy.select and not code.startswith(policy.select)):
            raise UsageError(f"{place}: require: {code} is never judged; ignore and select of the same file exclude it")


def _refuse_unknown(place: str, data: Mapping[str, Any]) -> None:
    """Before anything else: the name nearest to a misspelt key, of a section or at the top."""
    known = [field.alias or name for name, field in _File.model_fields.items()]
    _refuse(place, "", data, [*known, *all_rules()])
    sections: list[tuple[str, Any, type[BaseModel]]] = [("targets.", data.get("targets"), _Targets)]
    sections.append(("baseline.", data.get("baseline"), _Baseline))
    accepted = data.get("accepted")
    sections += [("accepted.", item, _Accepted) for item in (accepted if isinstance(accepted, list) else ())]
    for prefix, section, model in sections:
        if isinstance(section, dict):
            _refuse(place, prefix, section, model.model_fields)


def _refuse(place: str, prefix: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = list(known)
    for key in given:
        if key not in names:
            meant = nearest(key, names)
            hint = (
                f"did you mean {meant}?" if meant else f"known: {', '.join(n for n in names if n not in all_rules())}"
            )
            raise UsageError(f"{place}: {prefix}{key} is not a known key; {hint}")


def _codes(place: str, key: str, given: Iterable[str]) -> tuple[str, ...]:
    return tuple(_named(place, key, text) for text in given)


def _code(place: str, key: str, text: str) -> str:
    code = _named(place, key, text)
    if code not in all_rules():
        raise UsageError(f"{place}: {key}: {code} is not one code but the beginning of several")
    return code


def _named(place: str, key: str, text: str) -> str:
    try:
        return code_or_prefix(text)
    except UsageError as error:
        raise UsageError(f"{place}: {key}: {error}") from None


def _settings(place: str, key: str, given: Any) -> Mapping[str, float]:
    if not isinstance(given, dict):
        raise UsageError(f"{place}: {key} is {shown(given)}; expected settings, as in [{key.upper()}]")
    code = key.upper()
    known = settings_of(all_rules()[code])
    for name, value in given.items():
        setting = known.get(name)
        if setting is None:
            meant = nearest(name, known)
            listed = f"its settings: {', '.join(known)}" if known else "it has none"
            hint = f"did you mean {meant}?" if meant else listed
            raise UsageError(f"{place}: {key}.{name} is not a setting of {code}; {hint}")
        if not setting.allows(value):
            raise UsageError(f"{place}: {key}.{name} is {shown(value)}; expected {setting.allowed}")
    return dict(given)
