"""What settings files call what kd_run.yaml holds. Only names whose meaning is certain are taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kddoctor.errors import shown
from kddoctor.importers.found import Settings
from kddoctor.importers.metric_names import number
from kddoctor.run.manifest import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE

#: Settings below, or named after, these belong to something else than the training of the student.
ELSEWHERE = ("teacher", "generat", "sampl", "eval", "test", "baseline")
#: Levels and settings that are looked at.
DEEPEST, MOST = 8, 10_000

Read = Callable[[object], object]


def number_from(low: float, high: float = math.inf) -> Read:
    """Reads finite numbers of a range, also from text; None for everything else."""

    def read(value: object) -> object:
        found = number(value)
        return found if found is not None and math.isfinite(found) and low <= found <= high else None

    return read


def whole_number_from(low: float) -> Read:
    """Reads whole numbers, also from text; None for everything else."""

    def read(value: object) -> object:
        found = number_from(low, 2.0**53)(value)
        return int(found) if isinstance(found, float) and found == int(found) else None

    return read


def text(value: object) -> object:
    """A short text, in lower case; None for everything else."""
    return value.lower() if isinstance(value, str) and 0 < len(value) < 60 and value.isprintable() else None


temperature = number_from(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE)
at_least_0 = number_from(0)

_TRAINING: Mapping[str, tuple[str, Read]] = {
    "epochs": ("epochs num_epochs n_epochs max_epochs num_train_epochs", whole_number_from(0)),
    "batch_size": ("batch_size", whole_number_from(1)),
    "optimizer": ("optimizer optim", text),
    "learning_rate": ("learning_rate lr", at_least_0),
    "momentum": ("momentum", at_least_0),
    "weight_decay": ("weight_decay", at_least_0),
    "seed": ("seed random_seed", whole_number_from(-(2.0**53))),
}
_TEMPERATURE = "temperature kd_temperature distill_temperature distillation_temperature"
_CLASSES = "num_classes n_classes num_labels"
_TEACHERS_WEIGHT, _LABELS_WEIGHT = "kd_weight distill_weight distillation_weight", "ce_weight hard_weight label_weight"
#: One library's alpha weighs the teacher's term, the other's the labels'.
_AMBIGUOUS = "alpha kd_alpha alpha_kd distill_alpha distillation_alpha"
#: Of one process: what an update is made of may be several of these.
_PARTIAL = "per_device_train_batch_size per_gpu_train_batch_size train_batch_size"


@dataclass(frozen=True)
class _Leaf:
    depth: int
    path: str
    name: str
    value: object


@dataclass
class _Reading:
    """The settings of one file, and what could not be told from them."""

    file: str
    leaves: Sequence[_Leaf]
    unsure: list[str] = field(default_factory=list)

    def one(self, names: str, read: Read) -> Any:
        """The value of the outermost setting of these names; None where there is none, or where they differ."""
        named = [leaf for leaf in self.leaves if leaf.name in names.split() and leaf.value is not None]
        outermost = [leaf for leaf in named if leaf.depth == min(other.depth for other in named)]
        values = {read(leaf.value) for leaf in outermost}
        if not outermost:
            return None
        if len(values) > 1:
            self.unsure.append(f"{self.file}: {', '.join(leaf.path for leaf in outermost)} differ; none is taken")
            return None
        value = values.pop()
        if value is None and not isinstance(outermost[0].value, Mapping | list):
            self.unsure.append(f"{self.file}: {outermost[0].path} is {shown(outermost[0].value)}; not taken")
        return value

    def mention(self, names: str, why: str) -> None:
        """Say that settings of these names are there, and why they are not taken."""
        for leaf in self.leaves:
            if leaf.name in names.split() and number(leaf.value) is not None:
                self.unsure.append(f"{self.file}: {leaf.path} is {shown(leaf.value)}; {why}")


def settings_of(values: Mapping[str, Any], file: str) -> Settings:
    """What a tree of settings certainly says. file: where it stands, for the lines about what was left out."""
    reading = _Reading(file, tuple(_leaves(values)))
    training = {key: reading.one(names, read) for key, (names, read) in _TRAINING.items()}
    if training["batch_size"] is None:
        reading.mention(_PARTIAL, "it is of one process, so not taken as the batch size")
    distillation: dict[str, Any] = {}
    # Language models carry the temperature of sampling in the settings of the model.
    if not any(leaf.name == "transformers_version" for leaf in reading.leaves):
        distillation["temperature"] = reading.one(_TEMPERATURE, temperature)
    teachers, labels = (reading.one(names, at_least_0) for names in (_TEACHERS_WEIGHT, _LABELS_WEIGHT))
    if teachers is not None and labels is not None:
        distillation |= weights(teachers, labels, file, reading.unsure)
    else:
        reading.mention(_AMBIGUOUS, "whether it weighs the teacher's term or the labels' is not certain (--alpha)")
    return Settings(
        distillation=known(distillation),
        training=known(training),
        num_classes=reading.one(_CLASSES, whole_number_from(2)),
        unsure=tuple(reading.unsure),
    )


def weights(teachers: float, labels: float, file: str, unsure: list[str]) -> dict[str, float]:
    """alpha from the weights of both terms; nothing, and a line in ``unsure``, where they do not sum to one."""
    if math.isclose(teachers + labels, 1, abs_tol=1e-6):
        return {"alpha": teachers}
    unsure.append(
        f"{file}: the teacher's term weighs {teachers:g} and the labels' {labels:g}; alpha is left out, as they "
        "do not sum to one"
    )
    return {}


def in_words(settings: Settings) -> str:
    """What settings were understood, for people."""
    values: dict[str, Any] = {**settings.distillation, **settings.training}
    if settings.num_classes:
        values["num_classes"] = settings.num_classes
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "no setting that is certain"


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def _leaves(values: Mapping[str, Any]) -> Iterator[_Leaf]:
    """Settings by name, outermost first."""
    level: list[tuple[str, object]] = [("", values)]
    seen = 0
    for depth in range(DEEPEST):
        inner: list[tuple[str, object]] = []
        for parent, tree in level:
            for key, value in tree.items() if isinstance(tree, Mapping) else ():
                path = f"{parent}.{key}" if parent else str(key)
                seen += 1
                if seen > MOST:
                    return
                # Trackers write nested settings with slashes and dots into one name.
                name = path.replace("/", ".").rpartition(".")[2].lower().replace("-", "_")
                if any(part.startswith(ELSEWHERE) for part in path.lower().replace("/", ".").split(".")):
                    continue
                yield _Leaf(depth, path, name, value)
                if isinstance(value, Mapping):
                    inner.append((path, value))
        level = inner
