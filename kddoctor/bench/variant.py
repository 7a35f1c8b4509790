"""What is changed in a sound recipe without breaking it, and what breaks it in ways that no code names."""

from collections.abc import Callable
from dataclasses import dataclass

from kddoctor.bench.fault import EVERY_KIND
from kddoctor.bench.recipe import Recipe
from kddoctor.bench.task import Kind


@dataclass(frozen=True)
class Variant:
    """name: for the report only; no record holds it. looks_ill: a layman would call the run sick.

    kinds, tasks: where it makes sense (tasks: None for all of these kinds).
    """

    name: str
    edit: Callable[[Recipe], Recipe]
    looks_ill: bool = False
    kinds: tuple[Kind, ...] = EVERY_KIND
    tasks: tuple[str, ...] | None = None
