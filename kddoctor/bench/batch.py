"""A batch of implementations: one package with a module for each family of codes."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from kddoctor.bench.fault import Edit


def edits_of(*packages: ModuleType) -> dict[str, tuple[Edit, ...]]:
    """Implementations by code, from the ``EDITS`` of every module of these packages, in order of the packages."""
    found: dict[str, tuple[Edit, ...]] = {}
    for package in packages:
        for module in iter_modules(package.__path__):
            edits = import_module(f"{package.__name__}.{module.name}").EDITS
            for code, more in edits.items():
                found[code] = (*found.get(code, ()), *more)
    return found
