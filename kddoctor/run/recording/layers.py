"""The layers whose activations to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from kddoctor.errors import UsageError
from kddoctor.run.recording.calling import bare
from kddoctor.run.recording.default_layers import stages
from kddoctor.run.recording.teachers import MeanOfLogits
from kddoctor.run.spelling import nearest

Layers = Sequence[str] | Mapping[str, Sequence[str]] | None


def find_layers(layers: Layers, teacher: nn.Module | None, student: nn.Module) -> dict[str, list[str]]:
    """Names by model; a plain sequence is looked up in both. Without any, stages of both, where both have some.

    Raises UsageError for a layer not there.
    """
    if layers is None:
        return _stages_of_both(teacher, student)
    names = {
        "teacher": [] if teacher is None else [name for name, _ in bare(teacher).named_modules() if name],
        "student": [name for name, _ in bare(student).named_modules() if name],
    }
    if isinstance(layers, Mapping):
        for model, wanted in layers.items():
            if model not in names:
                raise UsageError(f"layers: {model!r} is not a model; expected teacher and student.")
            for name in wanted:
                _require(name, names[model], f"the {model}")
        return {model: list(wanted) for model, wanted in layers.items()}
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for name in wanted:
        _require(name, [*names["teacher"], *names["student"]], "the teacher or the student")
    return {model: [name for name in wanted if name in held] for model, held in names.items()}


def layer_pairs(layers: Layers, found: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Pairs [teacher layer, student layer], as asked for: by position where both were listed, by name otherwise."""
    if layers is None:
        return []
    teacher, student = found.get("teacher", []), found.get("student", [])
    if isinstance(layers, Mapping):
        return [list(pair) for pair in zip(teacher, student, strict=False)]
    return [[name, name] for name in teacher if name in student]


def _stages_of_both(teacher: nn.Module | None, student: nn.Module) -> dict[str, list[str]]:
    if teacher is None or isinstance(teacher, MeanOfLogits):
        return {}
    found = {"teacher": stages(bare(teacher)), "student": stages(bare(student))}
    return found if all(found.values()) else {}


def _require(name: str, held: Sequence[str], where: str) -> None:
    if name not in held:
        meant = nearest(name, held)
        ending = f"; did you mean {meant}?" if meant else "."
        raise UsageError(f"layers: {where} has no layer {name!r}{ending}")
