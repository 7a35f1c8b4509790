"""YAML as kddoctor reads it: plain values only, no duplicate keys, no aliases."""

from __future__ import annotations

from typing import Any

import yaml

from kddoctor.errors import RunError


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that also refuses what a settings file should not hold."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Aliases allow a small file to stand for an exponentially large one.
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# PyYAML's constructors let these through on malformed tagged scalars, such as !!int "" or !!bool maybe.
_CONSTRUCTOR_LEAKS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def parse_yaml(text: str, file: str) -> Any:
    """The one document of a YAML text, as plain values. Raises RunError, with the line where there is one."""
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" (line {mark.line + 1})" if mark else ""
        raise RunError.plain(f"{file}: is not valid YAML: {error.problem or error.context}{line}.") from None
    except (yaml.YAMLError, *_CONSTRUCTOR_LEAKS) as error:
        raise RunError.plain(f"{file}: is not valid YAML: {error}.") from None


def dump_yaml(values: dict[str, Any]) -> str:
    """Plain values as YAML, in the given order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
