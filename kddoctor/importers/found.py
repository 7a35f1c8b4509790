"""What an importer makes of a source, and what the user says beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kddoctor.run.metrics import Row


@dataclass(frozen=True)
class Given:
    """What the user knows; it overrides what the source says.

    arrays: the file of each array of one split, by its name in predictions/<split>.safetensors. probabilities: outputs
    are probabilities. config: the settings file of the training, where it does not lie in the source.
    """

    task: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    loss: str | None = None
    temperature: float | None = None
    alpha: float | None = None
    split: str = "val"
    run_id: str | None = None
    config: Path | None = None
    probabilities: bool = False
    arrays: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What the source's settings certainly mean, in the manifest's words. unsure: what was left out, and why."""

    distillation: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    unsure: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What one source holds. folder: where logits may lie beside the rest. said: what was read, a line each.
    left: what was there and was not read, a line each.
    """

    kind: str
    folder: Path | None
    settings: Settings = field(default_factory=Settings)
    metrics: tuple[Row, ...] = ()
    observations: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One kind of source. name: for people. recognises: looks at names and first lines only. read: raises RunError or
    UsageError.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Given], Found]
