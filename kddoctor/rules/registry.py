"""The registry of rules: one decorated function for each code, found by importing every module below here."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import kddoctor.rules
from kddoctor.rules.finding import Finding, NotExamined

Family = Literal[
    "pipeline",
    "loss",
    "soft-targets",
    "capacity",
    "optimisation",
    "data",
    "deployment",
    "sequence-LM",
    "recsys",
]
Verdict = Finding | NotExamined
Measurements = Mapping[type, object]

#: What must be recorded for a measurement to exist, and how. Keyed by the measurement's type name.
RECORD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "LossForensics": (
        ("steps",),
        "call run.step(loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop (steps.safetensors)",
    ),
    "LossMistakes": (
        ("steps",),
        "call run.step(loss=…, kd_loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop",
    ),
    "TokenShift": (
        ("steps of a task of tokens",),
        "call run.step(…) with student_logits and teacher_logits [B, L, V] and labels [B, L] in the loop",
    ),
    "LossNumerics": (
        ("steps.kd_loss",),
        "call run.step(loss=…, kd_loss=…, student_logits=…, teacher_logits=…, labels=…) in the loop",
    ),
    "GradientScale": (
        ("steps.expected_grad_norm", "steps.grad_norm"),
        "pass optimizer=… to kddoctor.record, and the loss with its graph to run.step, before backward()",
    ),
    "TeacherViews": (("predictions",), "record the teacher's logits in predictions/<split>.safetensors"),
    "TargetSoftness": (
        ("predictions", "distillation.temperature"),
        "declare distillation.temperature in kd_run.yaml, with the teacher's logits in predictions/train.safetensors",
    ),
    "Gaps": (("predictions",), "record teacher and student logits of one split"),
    "TrainGaps": (
        ("predictions/train",),
        "pass train_data=… to kddoctor.record (predictions/train.safetensors)",
    ),
    "TeacherPasses": (
        ("steps.teacher_logits_check", "observations.teacher_training"),
        "let kddoctor.record run the teacher twice (teacher_logits_check in steps.safetensors)",
    ),
    "RowPairing": (
        ("steps", "predictions.teacher_targets"),
        "record steps, or teacher_targets in predictions/train.safetensors",
    ),
    "LearningCurve": (
        ("metrics",),
        "call run.log(split='val', student_accuracy=…) once an epoch (metrics.jsonl)",
    ),
}


@dataclass(frozen=True)
class Rule:
    """One failure mode.

    stage: place in the decision order, upstream first. masks: codes whose statistical evidence this cause, once
    established, explains. reads: measurement types it cannot do without; uses: those it takes when present.
    """

    code: str
    name: str
    family: Family
    title: str
    stage: int
    reads: tuple[type, ...]
    uses: tuple[type, ...]
    masks: tuple[str, ...]
    judge: Callable[..., Verdict]
    page: str

    def __call__(self, measurements: Measurements) -> Verdict:
        """Judge, or say what is missing."""
        for kind in self.reads:
            if kind not in measurements:
                needs, how = RECORD[kind.__name__]
                return NotExamined(needs, how)
        required = [measurements[kind] for kind in self.reads]
        optional = [measurements.get(kind) for kind in self.uses]
        return self.judge(*required, *optional)


_RULES: dict[str, Rule] = {}


def rule(
    code: str,
    *,
    name: str,
    family: Family,
    title: str,
    stage: int,
    reads: tuple[type, ...],
    uses: tuple[type, ...] = (),
    masks: tuple[str, ...] = (),
) -> Callable[[Callable[..., Verdict]], Callable[..., Verdict]]:
    """Register the function that judges ``code``. Its module's docstring is the explain page."""

    def register(judge: Callable[..., Verdict]) -> Callable[..., Verdict]:
        page = inspect.getdoc(inspect.getmodule(judge)) or ""
        known = _RULES.get(code)
        if known is not None and known.judge.__module__ != judge.__module__:
            raise ValueError(f"{code} is defined in {known.judge.__module__} and in {judge.__module__}")
        _RULES[code] = Rule(code, name, family, title, stage, reads, uses, masks, judge, page)
        return judge

    return register


@cache
def all_rules() -> Mapping[str, Rule]:
    """Every rule by code, in the order of the codes."""
    for module in pkgutil.walk_packages(kddoctor.rules.__path__, "kddoctor.rules."):
        importlib.import_module(module.name)
    return dict(sorted(_RULES.items()))
