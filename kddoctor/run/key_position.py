"""Where in kd_run.yaml a key stands, for reports that point at a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from kddoctor.run.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES
from kddoctor.run.paths import file_inside, read_text


@dataclass(frozen=True)
class KeyPosition:
    """line, column, end_column: counted from 1, in characters; end_column is the one behind the key."""

    line: int
    column: int
    end_column: int


#: What is pointed at where no key is named: the file as a whole.
START = KeyPosition(1, 1, 1)


def key_position(run: Path, key: str) -> KeyPosition:
    """The position of a dotted key in a run's kd_run.yaml: of its section where the key itself was left to default,
    and the start of the file where that is missing, too. run: as ``kddoctor.load`` has accepted it. Raises RunError
    where the file cannot be read.
    """
    path = file_inside(run, MANIFEST_FILE)
    if path is None:
        return START
    node = yaml.compose(read_text(path, MANIFEST_FILE, MAX_MANIFEST_BYTES), Loader=yaml.SafeLoader)
    position = START
    for part in key.split("."):
        found = _entry(node, part)
        if found is None:
            break
        name, node = found
        width = name.end_mark.column - name.start_mark.column
        column = name.start_mark.column + 1
        position = KeyPosition(name.start_mark.line + 1, column, column + max(1, width))
    return position


def _entry(node: yaml.Node | None, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The nodes of a key and of its value in a mapping."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((pair for pair in node.value if isinstance(pair[0], yaml.ScalarNode) and pair[0].value == key), None)
