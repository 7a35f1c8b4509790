"""The pre-flight itself: look at a sample, take a few dry steps, judge."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from kddoctor.errors import RunError, UsageError
from kddoctor.preflight_checks.dry_steps import DrySteps, take_dry_steps
from kddoctor.preflight_checks.gradient_reach import NAME as REACH
from kddoctor.preflight_checks.gradient_reach import check_gradient_reach
from kddoctor.preflight_checks.judged import (
    ACCURACY,
    LEAKAGE,
    LOGITS,
    LOSS,
    ORDER,
    PASSES,
    PROJECTOR,
    SOFT_TARGETS,
    VOCABULARY,
    Judgement,
    check_accuracy,
    check_order,
    check_soft_targets,
    judge_sample,
    unjudged,
)
from kddoctor.preflight_checks.leakage import no_held_out, overlap
from kddoctor.preflight_checks.loss_check import check_loss
from kddoctor.preflight_checks.record import measured
from kddoctor.preflight_checks.result import Check, Preflight
from kddoctor.preflight_checks.sample import affordable, first_batch, spread
from kddoctor.preflight_checks.setting import Setting
from kddoctor.preflight_checks.shapes import check_shapes, wrong_labels
from kddoctor.preflight_checks.teacher_passes import check_teacher_passes
from kddoctor.preflight_checks.two_models import NAME as MODELS
from kddoctor.preflight_checks.two_models import check_two_models
from kddoctor.preflight_checks.vocabulary import check_vocabulary, tokenizer_facts
from kddoctor.probes.data_measurements import SplitOverlap
from kddoctor.run.manifest import TASKS_WITH_CLASSES, manifest_from
from kddoctor.run.recording.batches import source_of
from kddoctor.run.recording.calling import Transform, bare
from kddoctor.run.recording.predicting import Predicting, SplitRecord
from kddoctor.run.recording.process import optimizers_in
from kddoctor.run.recording.undisturbed import undisturbed


def preflight(
    *,
    teacher: nn.Module,
    student: nn.Module,
    train_data: object,
    val_data: object = None,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    loss: str | None = "kl",
    temperature: float | None = None,
    alpha: float | None = None,
    temperature_squared: bool = True,
    task: str = "multiclass",
    num_classes: int | None = None,
    teacher_transform: Transform | None = None,
    tokenizer: Any = None,
    teacher_tokenizer: Any = None,
    examples: int = 512,
    seconds: float = 60.0,
) -> Preflight:
    """Look for what makes a distillation fail before it is trained.

    teacher, student: as the loop will run them: the teacher in the mode that it teaches in. train_data, val_data: a
    DataLoader, a Dataset or a pair (inputs, labels). loss_fn: ``(student_logits, teacher_logits, labels) -> scalar``,
    or without labels. optimizer: the student's, one or several. loss, temperature, alpha, temperature_squared, task,
    num_classes, teacher_transform: as in ``kddoctor.record``. tokenizer, teacher_tokenizer: for tokens; objects with
    ``get_vocab()``, or mappings of token to number. examples: rows of each split that models are run on. seconds: how
    long it may take, about, where models or data are slow: fewer rows are looked at then.

    Nothing of the caller's is changed: modes, gradients, buffers, weights, optimizer and random states are as before,
    and loaders are not iterated. Raises UsageError or RunError where an argument is wrong.
    """
    if examples < 1 or not seconds > 0:
        raise UsageError(f"examples is {examples} and seconds is {seconds}; expected at least 1, and more than 0")
    given = {"train": train_data} if val_data is None else {"train": train_data, "val": val_data}
    manifest = {
        "task": task,
        # A stand-in until the logits are seen.
        "num_classes": num_classes or 2,
        "distillation": {
            "loss": loss,
            "temperature": temperature,
            "alpha": alpha,
            "temperature_squared": temperature_squared,
        },
    }
    setting = Setting(
        teacher=bare(teacher),
        student=bare(student),
        optimizers=optimizers_in(optimizer),
        sources={split: source_of(data, f"{split}_data") for split, data in given.items()},
        loss_fn=loss_fn,
        manifest=manifest_from(manifest).model_copy(update={"num_classes": num_classes}),
        transform=teacher_transform,
        tokenizer=tokenizer,
        teacher_tokenizer=teacher_tokenizer,
        examples=examples,
        seconds=seconds,
    )
    _refuse_uninitialized(setting)
    return Preflight(tuple(examine(setting)))


def _refuse_uninitialized(setting: Setting) -> None:
    for role, model in (("teacher", setting.teacher), ("student", setting.student)):
        if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
            raise UsageError(f"the {role} has parameters without a shape yet; run a batch through it first")


def examine(setting: Setting) -> Iterator[Check]:
    """All checks that the setting's task can have, in order."""
    with undisturbed(*setting.modules()):
        shapes = check_shapes(setting)
        if shapes.status == "ok":
            setting, splits = _run_models(setting)
            wrong = next(_wrong_labels(setting, splits), None)
            shapes = shapes if wrong is None else Check(shapes.name, "fail", wrong, fix="mend the labels")
    yield shapes
    if shapes.status == "fail":
        yield from _not_made(setting)
        return
    dry, reach = _dry_steps(setting, splits)
    judgement = _judged(setting, splits, dry)
    yield from _of_the_teacher(setting, judgement)
    yield check_two_models(setting)
    yield check_loss(setting, judgement)
    yield reach
    yield from _failures_only(judgement.check(PROJECTOR))
    yield check_soft_targets(judgement)
    if setting.manifest.task == "tokens":
        yield check_vocabulary(setting, judgement)
    yield judgement.check(LEAKAGE) if "val" in setting.sources else no_held_out()


def _of_the_teacher(setting: Setting, judgement: Judgement) -> Iterator[Check]:
    order = check_order(judgement)
    yield order
    yield check_accuracy(judgement, order)
    with undisturbed(*setting.modules()):
        yield check_teacher_passes(setting, judgement)
    yield judgement.check(LOGITS)


def _failures_only(check: Check) -> Iterator[Check]:
    """A question that few set-ups raise is shown where its answer is bad."""
    if check.status == "fail":
        yield check


def _not_made(setting: Setting) -> Iterator[Check]:
    asked = [ORDER, ACCURACY, PASSES, LOGITS, (MODELS, ()), LOSS, (REACH, ()), SOFT_TARGETS, LEAKAGE]
    if setting.manifest.task == "tokens":
        asked.insert(-1, VOCABULARY)
    yield from (Check(name, "not checked", "shapes have to be right first") for name, _ in asked)


def _run_models(setting: Setting) -> tuple[Setting, dict[str, SplitRecord]]:
    """Both models over the sample of each split, and the setting with its classes counted and its examples bounded."""
    batch = first_batch(setting, setting.held_out)
    assert batch is not None
    logits = setting.logits("student", batch)
    if setting.manifest.task in TASKS_WITH_CLASSES:
        manifest = setting.manifest.model_copy(update={"num_classes": int(logits.shape[-1])})
        setting = replace(setting, manifest=manifest)
    rows = affordable(setting, batch, logits.numel())
    predicting = Predicting(
        models={"teacher": setting.teacher, "student": setting.student},
        layers={},
        task=setting.manifest.task,
        transform=setting.transform,
        row_ids=None,
        max_examples=rows,
        feature_examples=rows,
        save_inputs=True,
    )
    setting = replace(setting, examples=rows)
    return setting, {split: predicting.record(split, spread(source, rows)) for split, source in setting.sources.items()}


def _wrong_labels(setting: Setting, splits: dict[str, SplitRecord]) -> Iterator[str]:
    for split, part in splits.items():
        labels = torch.from_numpy(part.predictions["labels"])
        yield from (f"{split} data: {problem}" for problem in wrong_labels(setting, labels))


def _dry_steps(setting: Setting, splits: dict[str, SplitRecord]) -> tuple[DrySteps | None, Check]:
    """The steps, and what they say of gradients; None where something in them raises."""
    first = next(iter(splits.values())).predictions
    logits = first.get("student_logits", first.get("student_topk_values"))
    assert logits is not None
    classes = setting.manifest.num_classes or 1
    try:
        dry = take_dry_steps(setting, classes * int(logits[0].size // logits.shape[-1]) if logits.ndim > 1 else 1)
    except Exception as error:  # models, data and loss are the user's code
        return None, Check(REACH, "fail", f"a training step raises {type(error).__name__}: {error}")
    return dry, check_gradient_reach(setting, dry)


def _judged(setting: Setting, splits: dict[str, SplitRecord], dry: DrySteps | None) -> Judgement:
    try:
        found = measured(setting, splits, dry, tokenizer_facts(setting))
    except RunError as error:
        return unjudged(f"the sample cannot be measured: {error}")
    shared = overlap(setting, found.get(SplitOverlap))
    if shared is not None:
        found[SplitOverlap] = shared
    return judge_sample(found)
