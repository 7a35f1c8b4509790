"""What is wrong with a manifest, in one line that names the key."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from kddoctor.errors import RunError, shown
from kddoctor.run.spelling import nearest


def manifest_error(error: ValidationError, file: str, model: type[BaseModel]) -> RunError:
    """The first problem that pydantic found, as a RunError."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    found = first.get("input")
    if first["type"] in ("missing", "too_long") and "feature_layers" in first["loc"]:
        pair = "a pair of names [teacher layer, student layer]"
        return RunError(file, "distillation.feature_layers", f"a list holding {shown(found)}", pair)
    if first["type"] == "missing":
        top = found if isinstance(found, dict) else {}
        meant = next((name for name in top if isinstance(name, str) and nearest(name, [key])), None)
        advice = f"is {meant} a misspelling?" if meant and meant not in model.model_fields else None
        return RunError(file, key, "missing", f"{_choices(model, key) or 'a value'}", advice)
    if first["type"] == "invalid_key":
        return RunError.plain(f"{file}: the key {shown(first['loc'][-1])} is not text; put quotes round it.")
    advice = None
    if first["type"] == "literal_error" and isinstance(found, str):
        meant = nearest(found, _literals(model, first["loc"]))
        advice = f"did you mean {meant}?" if meant else None
    return RunError(file, key, shown(found), _expected(first), advice)


def _expected(problem: Any) -> str:
    context = problem.get("ctx", {})
    kind = problem["type"]
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return "module:name, as in recipe:make_student"
    fixed = {
        "finite_number": "a finite number",
        "float_parsing": "a number",
        "float_type": "a number",
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "tuple_type": "a pair",
        "dict_type": "keys and values",
        "model_type": "keys and values",
        "model_attributes_type": "keys and values",
        "greater_than": "a number greater than {gt:g}",
        "greater_than_equal": "a number of at least {ge:g}",
        "less_than_equal": "a number of at most {le:g}",
        "date_type": "a date, as in 2027-01-01",
        "string_too_short": "text that is not empty",
    }
    if kind in fixed:
        return fixed[kind].format(**context)
    return str(problem["msg"])


def unknown_keys(section: BaseModel, file: str) -> tuple[str, ...]:
    """One warning line for every key that the section and its subsections do not know, in file order."""
    return tuple(_unknown(section, type(section), file, ""))


def _unknown(section: BaseModel, root: type[BaseModel], file: str, prefix: str) -> list[str]:
    known = type(section).model_fields
    lines = []
    for key in section.model_extra or {}:
        meant = nearest(key, known) or _elsewhere(key, root)
        ending = f"did you mean {meant}?" if meant else "it is kept but not used."
        lines.append(f"{file}: {prefix}{key} is not a known key; {ending}")
    for name in known:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            lines += _unknown(value, root, file, f"{prefix}{name}.")
    return lines


def _elsewhere(key: str, root: type[BaseModel]) -> str | None:
    """Where a key that stands in the wrong section belongs, as in ``distillation.temperature``."""
    for name, field in root.model_fields.items():
        for candidate in (field.annotation, *get_args(field.annotation)):
            is_section = isinstance(candidate, type) and issubclass(candidate, BaseModel)
            if is_section and key in candidate.model_fields:
                return f"{name}.{key}"
    if key in root.model_fields:
        return f"{key} at the top level"
    return None


def _literals(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The allowed values of the field at a location that pydantic reported."""
    annotation: Any = model
    for part in location:
        fields: dict[str, Any] = next(
            (c.model_fields for c in (annotation, *get_args(annotation)) if hasattr(c, "model_fields")), {}
        )
        if part not in fields:
            return []
        annotation = fields[part].annotation
    options = [option for c in (annotation, *get_args(annotation)) for option in (*get_args(c), c)]
    return list(dict.fromkeys(option for option in options if isinstance(option, str)))


def _choices(model: type[BaseModel], key: str) -> str:
    names = _literals(model, tuple(key.split(".")))
    return ", ".join(names[:-1]) + f" or {names[-1]}" if names else ""
