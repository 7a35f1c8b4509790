"""What torchdistill's .yaml means: its losses in both of the layouts that it has had."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kddoctor.importers.found import Settings
from kddoctor.importers.metric_names import number
from kddoctor.importers.setting_names import at_least_0, known, temperature, text, whole_number_from

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class _Term:
    """One loss of a weighted sum."""

    kind: str
    settings: Tree
    weight: float


def is_config(values: object) -> bool:
    """Whether parsed YAML has the parts that torchdistill's examples read."""
    return isinstance(values, Mapping) and all(isinstance(values.get(key), Mapping) for key in ("models", "train"))


def settings_from(values: Tree, file: str) -> Settings:
    """What the settings certainly mean. file: for the lines about what was left out."""
    unsure: list[str] = []
    stages = _stages(values["train"])
    distilling = [stage for stage in stages if any(term.kind == "KDLoss" for term in _terms(stage.get("criterion")))]
    if len(stages) > 1:
        unsure.append(f"{file}: training has {len(stages)} stages; settings are those of the one with KDLoss")
    stage = distilling[0] if len(distilling) == 1 else stages[0]
    if len(stages) > 1 and len(distilling) != 1:
        unsure.append(f"{file}: {len(distilling) or 'no'} stages distil with KDLoss; the loss is left out")
        distillation: dict[str, Any] = {}
    else:
        has_teacher = "teacher_model" in values["models"]
        distillation = _distillation(list(_terms(stage.get("criterion"))), has_teacher, file, unsure)
    models = values["models"]
    student = _tree(models.get("student_model") or models.get("model"))
    classes = whole_number_from(2)(_arguments(student).get("num_classes"))
    return Settings(
        distillation=known(distillation),
        training=known(_training(stage, len(stages))),
        num_classes=classes if isinstance(classes, int) else None,
        unsure=tuple(unsure),
    )


def _stages(train: Tree) -> list[Tree]:
    named = [
        train[key] for key in sorted(map(str, train)) if key.startswith("stage") and isinstance(train[key], Mapping)
    ]
    return named or [train]


def _training(stage: Tree, stages: int) -> dict[str, Any]:
    optimizer, loader = _tree(stage.get("optimizer")), _tree(stage.get("train_data_loader"))
    arguments = _arguments(optimizer)
    batch_size = loader.get("batch_size", _arguments(loader).get("batch_size"))
    return {
        "epochs": whole_number_from(0)(stage.get("num_epochs")) if stages == 1 else None,
        "batch_size": whole_number_from(1)(batch_size),
        "optimizer": text(optimizer.get("key", optimizer.get("type"))),
        "learning_rate": at_least_0(arguments.get("lr")),
        "momentum": at_least_0(arguments.get("momentum")),
        "weight_decay": at_least_0(arguments.get("weight_decay")),
    }


def _tree(value: object) -> Tree:
    return value if isinstance(value, Mapping) else {}


def _arguments(tree: Tree) -> Tree:
    return _tree(tree.get("kwargs", tree.get("params")))


def _terms(criterion: object, weight: float = 1.0) -> Iterator[_Term]:
    """The losses of a criterion with the weights that they have in the total."""
    tree = _tree(criterion)
    parts = _tree(_arguments(tree).get("sub_terms", tree.get("sub_terms")))
    whole = [tree["org_term"]] if isinstance(tree.get("org_term"), Mapping) else []
    inner = [*whole, *(part for part in parts.values() if isinstance(part, Mapping))]
    if not inner:
        kind = tree.get("key", tree.get("type"))
        if isinstance(kind, str):
            yield _Term(kind, _arguments(tree), weight)
        return
    for part in inner:
        share = number(part.get("weight", part.get("factor", 1.0)))
        if share:
            yield from _terms(part.get("criterion"), weight * share)


def _distillation(terms: list[_Term], has_teacher: bool, file: str, unsure: list[str]) -> dict[str, Any]:
    kinds = [term.kind for term in terms]
    if not terms:
        return {}
    if kinds == ["KDLoss"]:
        return _kd_loss(terms[0], 0.0, file, unsure)
    if sorted(kinds) == ["CrossEntropyLoss", "KDLoss"]:
        soft, hard = (next(term for term in terms if term.kind == kind) for kind in ("KDLoss", "CrossEntropyLoss"))
        return _kd_loss(soft, hard.weight, file, unsure)
    if kinds == ["CrossEntropyLoss"] and not has_teacher:
        return {"loss": "none"}
    unsure.append(f"{file}: the loss is {' + '.join(kinds)}, which kd_run.yaml has no word for: custom")
    return {"loss": "custom"}


def _kd_loss(term: _Term, labels: float, file: str, unsure: list[str]) -> dict[str, Any]:
    """KDLoss is alpha CE + beta T² KL, its beta being 1 - alpha; without alpha it is KL alone, and without T².

    labels: weight of a cross-entropy beside it.
    """
    t = temperature(term.settings.get("temperature"))
    if not isinstance(t, float):
        unsure.append(f"{file}: KDLoss has no usable temperature; its settings are left out")
        return {}
    found: dict[str, Any] = {"loss": "kl", "temperature": t}
    reduction = term.settings.get("reduction", "batchmean")
    if reduction != "batchmean":
        unsure.append(f"{file}: KDLoss has reduction {reduction}; the KL divergence is a mean over rows with batchmean")
    alpha = number(term.settings.get("alpha"))
    beta = number(term.settings.get("beta"))
    if alpha:
        teachers, hard = (1 - alpha if beta is None else beta) * term.weight, alpha * term.weight + labels
        squared = True
    else:
        squared = math.isclose(term.weight / t**2 + labels, 1, abs_tol=1e-6) and t != 1
        teachers, hard = term.weight / t**2 if squared else term.weight, labels
    if math.isclose(teachers + hard, 1, abs_tol=1e-6):
        return {**found, "alpha": teachers, "temperature_squared": squared}
    unsure.append(f"{file}: the teacher's term weighs {teachers:g}, the labels' {hard:g}; alpha is left out")
    return {**found, "temperature_squared": squared}
