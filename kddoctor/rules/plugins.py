"""Rules of other packages: entry points of the group ``kddoctor.rules`` name the modules that hold them."""

import importlib
import logging
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import get_args

from kddoctor.errors import one_line
from kddoctor.rules.registry import CodeClashError, Family, Rule, registered

GROUP = "kddoctor.rules"
#: A prefix of its own and a number. Codes that begin with KD are kddoctor's.
CODE = re.compile(r"(?!KD)[A-Z]{2,10}[0-9]{1,4}")

_log = logging.getLogger("kddoctor")


def load_plugins() -> Mapping[str, Rule]:
    """The rules of every installed package that offers some, each marked with its package.

    A package that cannot be loaded is left out, with one line in the log that names it. Raises CodeClashError where two
    rules have the same code: which of them was meant is not for kddoctor to guess.
    """
    rules: dict[str, Rule] = {}
    for entry in _entries():
        try:
            rules |= _rules_in(entry)
        except CodeClashError:
            raise
        except (Exception, SystemExit) as error:  # whatever another package does, kddoctor still works
            reason = str(error) if isinstance(error, _UnusableError) else f"{type(error).__name__}: {error}"
            _log.warning(one_line(f"warning: {_package(entry)}: its rules are left out: {reason}"))
    return rules


class _UnusableError(Exception):
    """Rules that were loaded, but are not what kddoctor can work with."""


def _entries() -> list[EntryPoint]:
    """Sorted, and each module once: one package may lie on several places of the path."""
    by_module = {entry.module: entry for entry in entry_points(group=GROUP)}
    return sorted(by_module.values(), key=lambda entry: (_package(entry), entry.module))


def _package(entry: EntryPoint) -> str:
    return entry.module if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _rules_in(entry: EntryPoint) -> Mapping[str, Rule]:
    """The rules of the entry point's module and, where that is a package, of all modules in it."""
    module = importlib.import_module(entry.module)
    for part in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{entry.module}."):
        importlib.import_module(part.name)
    found = {
        code: replace(rule, package=_package(entry))
        for code, rule in registered().items()
        if f"{rule.judge.__module__}.".startswith(f"{entry.module}.")
    }
    if not found:
        raise _UnusableError(f"{entry.module} defines none")
    for rule in found.values():
        _refuse_unusable(rule)
    return found


def _refuse_unusable(rule: Rule) -> None:
    if CODE.fullmatch(rule.code) is None:
        raise _UnusableError(
            f"{rule.code!r} is no code of its own; expected a prefix other than KD and a number, as ACME101"
        )
    if rule.family not in get_args(Family):
        raise _UnusableError(
            f"{rule.code} has the family {rule.family!r}; expected one of {', '.join(get_args(Family))}"
        )
    if not rule.page.strip():
        raise _UnusableError(f"{rule.code} has no page: {rule.judge.__module__} has no docstring")
