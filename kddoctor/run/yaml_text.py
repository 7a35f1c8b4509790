"""YAML as kddoctor reads it: plain values only, no duplicate keys, no aliases; and as other tools write it."""

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


class _ForeignLoader(yaml.SafeLoader):
    """Settings of other tools: aliases and merge keys within bounds, and tags without what they would run.

    What a tag of another tool stands for is not computed: the plain value below it is kept.
    """

    MOST_NODES = 100_000

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if node is None:
            return node
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "an alias inside of what it stands for", event.start_mark)
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        # As many as there would be with every alias written out: merge keys do write them out.
        if self._sizes[id(node)] > self.MOST_NODES:
            raise yaml.composer.ComposerError(None, None, "too many values", event.start_mark)
        return node

    def construct_untagged(self, suffix: str, node: yaml.Node) -> Any:
        """The plain value of a node whose tag is not YAML's own."""
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return self.construct_sequence(node, deep=True)
        assert isinstance(node, yaml.ScalarNode)
        return self.construct_scalar(node)


_ForeignLoader.add_multi_constructor("!", _ForeignLoader.construct_untagged)
_ForeignLoader.add_multi_constructor("tag:yaml.org,2002:python/", _ForeignLoader.construct_untagged)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


# PyYAML's constructors let these through on malformed tagged scalars, such as !!int "" or !!bool maybe.
_CONSTRUCTOR_LEAKS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def parse_yaml(text: str, file: str) -> Any:
    """The one document of a YAML text, as plain values. Raises RunError, with the line where there is one."""
    return _parse(text, file, _PlainLoader)


def parse_foreign_yaml(text: str, file: str) -> Any:
    """The same for settings of other tools: aliases and unknown tags are allowed, and nothing they name is run."""
    return _parse(text, file, _ForeignLoader)


def _parse(text: str, file: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" (line {mark.line + 1})" if mark else ""
        raise RunError.plain(f"{file}: is not valid YAML: {error.problem or error.context}{line}.") from None
    except (yaml.YAMLError, *_CONSTRUCTOR_LEAKS) as error:
        raise RunError.plain(f"{file}: is not valid YAML: {error}.") from None


def dump_yaml(values: dict[str, Any]) -> str:
    """Plain values as YAML, in the given order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
