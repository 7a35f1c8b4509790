"""One value of a settings file read or replaced; a YAML file keeps its comments and its layout."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml

from kddoctor.errors import RunError, UsageError
from kddoctor.run.spelling import nearest
from kddoctor.run.yaml_text import dump_yaml, parse_foreign_yaml


def parse_settings(text: str, file: str) -> Any:
    """Plain values of YAML or JSON. Raises RunError."""
    if not file.endswith(".json"):
        return parse_foreign_yaml(text, file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError.plain(f"{file}: is not valid JSON: {error}.") from None


def value_at(values: Any, place: str, file: str) -> Any:
    """What stands at a dotted key; numbers count places of lists. Raises UsageError where nothing stands there."""
    for part in place.split("."):
        known = _keys(values)
        if part not in known:
            near = nearest(place, _places(values)) if part == place else nearest(part, known)
            meant = f"; did you mean {near}?" if near else ""
            raise UsageError(f"{file}: has no {place}, which code.keys of kd_run.yaml names{meant}")
        values = values[known[part]]
    return values


def replaced(text: str, file: str, changes: Mapping[str, Any]) -> str:
    """The text with other values at these dotted keys, which have to be there. Raises UsageError or RunError."""
    for place, value in changes.items():
        text = _replaced(text, file, place, value)
    return text


def _replaced(text: str, file: str, place: str, value: Any) -> str:
    values = parse_settings(text, file)
    if value_at(values, place, file) == value:
        return text
    wanted = _with(values, place.split("."), value)
    if file.endswith(".json"):
        indent = re.search(r"\n([ \t]+)", text)
        return json.dumps(wanted, indent=indent.group(1) if indent else None, ensure_ascii=False) + "\n"
    spliced = _spliced(text, place.split("."), value)
    # Anchors, merge keys and block lists may stand in the way of a splice; then the whole file is written anew.
    return spliced if spliced is not None and _means(spliced, file, wanted) else dump_yaml(wanted)


def _means(text: str, file: str, wanted: Any) -> bool:
    try:
        return bool(parse_settings(text, file) == wanted)
    except RunError:
        return False


def _spliced(text: str, path: Sequence[str], value: Any) -> str | None:
    """The text with the value's own characters replaced; None where they cannot be told."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in path:
        node = _child(node, part)
    if node is None:
        return None
    return text[: node.start_mark.index] + _flow(value) + text[node.end_mark.index :]


def _child(node: yaml.Node | None, part: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((child for key, child in node.value if key.value == part), None)
    return node.value[int(part)] if isinstance(node, yaml.SequenceNode) else None


def _flow(value: Any) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return written.removesuffix("...\n").strip()


def _with(values: Any, path: Sequence[str], value: Any) -> Any:
    changed = deepcopy(values)
    holder = changed
    for part in path[:-1]:
        holder = holder[_keys(holder)[part]]
    holder[_keys(holder)[path[-1]]] = value
    return changed


def _keys(values: Any) -> dict[str, Any]:
    """The steps that can be taken from here, by the name they have in a dotted key."""
    if isinstance(values, dict):
        return {str(key): key for key in values}
    return {str(index): index for index in range(len(values))} if isinstance(values, list) else {}


def _places(values: Any) -> list[str]:
    return [
        place for part, key in _keys(values).items() for place in (part, *(f"{part}.{p}" for p in _places(values[key])))
    ]
