"""Recording a distillation while it runs, without changing what it computes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.errors import KDDoctorError, UsageError
from kddoctor.run.manifest import TASKS_WITH_CLASSES, manifest_from
from kddoctor.run.recording.batches import Source, first_rows, source_of
from kddoctor.run.recording.calling import RowIds, Transform, bare, latency_ms
from kddoctor.run.recording.drift import Drift
from kddoctor.run.recording.ending import StudentAfterTraining
from kddoctor.run.recording.gradients import GradientWatch
from kddoctor.run.recording.layers import Layers, find_layers, layer_pairs
from kddoctor.run.recording.live import LiveSteps
from kddoctor.run.recording.predicting import Predicting, SplitRecord
from kddoctor.run.recording.process import is_first_process, optimizers_in
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.writer import refuse_existing, write_run

TIMED_BATCH = 32
CHECK_ARGUMENTS = "Check the arguments given to record() and step(); what can be recorded still is."


class RecorderWarning(UserWarning):
    """The recorder could not record something; the training loop is not affected."""


def record(
    run_dir: str | Path,
    *,
    teacher: nn.Module,
    student: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    train_data: object = None,
    val_data: object = None,
    temperature: float | None = None,
    alpha: float | None = None,
    loss: str | None = "kl",
    temperature_squared: bool = True,
    task: str = "multiclass",
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    layers: Layers = None,
    training: Mapping[str, object] | None = None,
    targets: Mapping[str, object] | None = None,
    code: Mapping[str, object] | None = None,
    code_files: Mapping[str, str] | None = None,
    teacher_transform: Transform | None = None,
    row_ids: RowIds | None = None,
    baseline: nn.Module | None = None,
    max_steps: int = 32,
    max_examples: int = 10_000,
    feature_examples: int = 512,
    save_inputs: bool = False,
    save_checkpoints: bool = False,
    overwrite: bool = False,
) -> Recorder:
    """Record a distillation into a run directory, as a context manager around the training loop.

    teacher, student: the modules that the loop runs. optimizer: that of the student, one or several.
    train_data, val_data: a DataLoader, a Dataset or a pair (inputs, labels); at least one, for the
    predictions. They are read in order after training, through a loader of the recorder's own.
    temperature, alpha, loss, temperature_squared: what the loop is meant to do, as in kd_run.yaml.
    num_classes: taken from the logits where it is not given. layers: names, looked up in both models, or
    {"teacher": [...], "student": [...]}, whose activations to keep. teacher_transform: the student's
    input batch to the teacher's. row_ids: an input batch to {"group_ids": [B], "item_ids": [B]}, the query or user and
    the item of each row. baseline: the student trained without a teacher. code, code_files: how a
    later retraining finds the models, and files to put into the run directory for it.
    max_steps, max_examples, feature_examples: bounds on training steps, rows a split, and rows of features.

    The run is written when the block ends, also by an exception, which then goes on. A problem of the
    recorder's own is one RecorderWarning. Trained weights are bit-identical with and without it.

    Raises UsageError or RunError, before training, where the directory is taken or an argument is wrong.
    """
    if train_data is None and val_data is None:
        raise UsageError("record needs train_data or val_data: without predictions there is no diagnosis.")
    optimizers = optimizers_in(optimizer)
    sources = {
        split: source_of(data, f"{split}_data")
        for split, data in (("val", val_data), ("train", train_data))
        if data is not None
    }
    named = find_layers(layers, teacher, student)
    manifest: dict[str, Any] = {
        "task": task,
        "num_classes": num_classes,
        "class_names": None if class_names is None else list(class_names),
        "distillation": {
            "loss": loss,
            "temperature": temperature,
            "alpha": alpha,
            "temperature_squared": temperature_squared,
            "feature_layers": layer_pairs(layers, named),
        },
        "training": {**_seen_training(optimizers, sources), **(training or {})},
        "targets": dict(targets or {}),
        "code": None if code is None else dict(code),
    }
    # Now rather than after days of training; the number of classes may not be known yet.
    stand_in = num_classes or (len(class_names) if class_names is not None else 2)
    manifest_from({**manifest, "num_classes": stand_in})
    refuse_existing(Path(run_dir), overwrite)
    predicting = Predicting(
        models={
            "teacher": bare(teacher),
            "student": bare(student),
            **({} if baseline is None else {"baseline": bare(baseline)}),
        },
        layers=named,
        task=task,
        transform=teacher_transform,
        row_ids=row_ids,
        max_examples=max_examples,
        feature_examples=feature_examples,
        save_inputs=save_inputs,
    )
    return Recorder(
        Path(run_dir),
        manifest,
        predicting,
        LiveSteps(teacher, student, optimizers, task=task, transform=teacher_transform, max_steps=max_steps),
        sources,
        code_files=dict(code_files or {}),
        save_checkpoints=save_checkpoints,
        overwrite=overwrite,
    )


class Recorder:
    """What :func:`record` returns. Use it as a context manager, and call step() once a training step."""

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        predicting: Predicting,
        live: LiveSteps,
        sources: dict[str, Source],
        *,
        code_files: dict[str, str],
        save_checkpoints: bool,
        overwrite: bool,
    ) -> None:
        self.path = path
        self._manifest = manifest
        self._predicting = predicting
        self._live = live
        self._sources = sources
        self._code_files = code_files
        self._save_checkpoints = save_checkpoints
        self._overwrite = overwrite
        self._complaints: set[str] = set()
        self._state = "new"
        self._drift: Drift | None = None
        self._gradients: GradientWatch | None = None
        self._after: StudentAfterTraining | None = None
        self._first_process = is_first_process()

    def __enter__(self) -> Self:
        if self._state != "new":
            raise UsageError("a recorder can be entered once; call record again for another run.")
        self._state = "open"
        with self._harmless("watch the models"):
            if self._first_process:
                self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._harmless(f"write {self.path}", "Nothing was written; mend this before the next run."):
            self.finish()

    def step(
        self,
        *,
        loss: Tensor | float,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        kd_loss: Tensor | float | None = None,
        ce_loss: Tensor | float | None = None,
        feature_loss: Tensor | float | None = None,
        mask: Tensor | None = None,
        epoch: int | None = None,
        step: int | None = None,
        **scalars: Any,
    ) -> None:
        """Record one training step; before or after backward() and optimizer.step().

        loss: the total. kd_loss, ce_loss, feature_loss: its terms before their weights. student_logits,
        teacher_logits: raw, [B, C]. mask: for tokens, [B, L], true where a position counts. step: counted
        from 0 where it is not given. scalars: further numbers for metrics.jsonl. Before backward(), the
        gradient norms of the terms are recorded too. Never raises.
        """
        if self._state != "open" or not self._first_process:
            return
        with self._harmless("record a training step"):
            terms = {"kd_loss": kd_loss, "ce_loss": ce_loss, "feature_loss": feature_loss}
            tensors = {
                "student_logits": student_logits,
                "teacher_logits": teacher_logits,
                "labels": labels,
                "mask": mask,
            }
            self._live.step(loss, terms, tensors, epoch=epoch, number=step, scalars=scalars)
            if self._gradients is not None and not self._gradients.optimizers:
                self._gradients.look()

    def log(self, **scalars: Any) -> None:
        """Add a row to metrics.jsonl, such as log(split="val", epoch=3, loss=0.8). Never raises."""
        if self._state == "open" and self._first_process:
            with self._harmless("log metrics"):
                self._live.log(scalars)

    def finish(self) -> Path:
        """Run both models over the data, and write the run directory. Called at the end of the block.

        Raises UsageError where the directory cannot be written. Returns its path; later calls do nothing.
        """
        if self._state == "finished":
            return self.path
        self._state = "finished"
        if not self._first_process:
            return self.path
        try:
            self._live.pause()
            with self._harmless("keep the last training step"):
                self._live.add_last_step()
            observations = self._observe()
        finally:
            self._close()
        splits: dict[str, SplitRecord] = {}
        for split, source in self._sources.items():
            with self._harmless(f"run the models over {split}_data"), self._undisturbed():
                splits[split] = self._predicting.record(source)
                observations.setdefault("inputs", {})[split] = splits[split].statistics
        with self._harmless("time the models"), self._undisturbed():
            observations["latency_ms"] = self._latency()
        self._write(splits, observations)
        return self.path

    def state_dict(self) -> dict[str, Any]:
        """Everything recorded so far, as tensors and plain values (safe for weights_only loading)."""
        return {
            "live": self._live.state_dict(),
            "drift": {} if self._drift is None else dict(self._drift.before),
            "gradients": None if self._gradients is None else self._gradients.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an interrupted run's state_dict(); call it inside the block, before the first step."""
        if self._state == "new":
            raise UsageError("load_state_dict belongs inside the with-block.")
        self._live.load_state_dict(state["live"])
        if self._drift is not None:
            # The teacher as it was before the interrupted run, not as it is now.
            self._drift.before.update(state["drift"])
        if self._gradients is not None and state["gradients"] is not None:
            self._gradients.load_state_dict(state["gradients"])

    def _begin(self) -> None:
        live = self._live
        live.begin(self._complain_about("watch the models"))
        self._gradients = GradientWatch(
            live.student,
            live.teacher,
            live.optimizers,
            wants_norm=live.wants_gradient_norm,
            on_norm=live.take_gradient_norm,
            on_error=self._complain_about("watch gradients"),
        )
        self._drift = Drift(live.teacher)
        self._after = StudentAfterTraining(live.student, live.optimizers)

    def _observe(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        with self._harmless("collect observations"):
            facts.update(self._live.observations())
            if self._gradients is not None:
                facts.update(self._gradients.observations())
            if self._drift is not None:
                facts["teacher_drift"] = self._drift.largest()
            if self._after is not None:
                facts.update(self._after.observations())
        with self._harmless("run the student on its last step again"):
            again = self._live.last_step_again()
            if again is not None:
                facts["last_step"] = again
        return facts

    def _close(self) -> None:
        self._live.close()
        for watch in (self._gradients, self._after):
            if watch is not None:
                watch.close()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        with undisturbed(*self._predicting.models.values()):
            yield

    def _latency(self) -> dict[str, float]:
        source = next(iter(self._sources.values()))
        batch = next(source.batches(TIMED_BATCH))
        inputs = first_rows(batch.inputs, TIMED_BATCH, batch.size)
        transform = self._predicting.transform
        return {
            name: latency_ms(
                self._predicting.models[name],
                transform(inputs) if name == "teacher" and transform is not None else inputs,
            )
            for name in ("teacher", "student")
        }

    def _write(self, splits: dict[str, SplitRecord], observations: dict[str, Any]) -> None:
        steps = self._live.sample.arrays()
        manifest = dict(self._manifest)
        if manifest["num_classes"] is None and manifest["task"] in TASKS_WITH_CLASSES:
            manifest["num_classes"] = self._live.num_classes or _classes(splits)
        models = self._predicting.models
        write_run(
            self.path,
            manifest_from(manifest),
            predictions={split: part.predictions for split, part in splits.items() if part.predictions},
            steps=steps,
            metrics=self._live.rows(),
            observations=observations,
            features={split: part.features for split, part in splits.items() if part.features},
            inputs={split: part.inputs for split, part in splits.items() if part.inputs},
            fingerprints={s: part.fingerprints for s, part in splits.items() if part.fingerprints is not None},
            checkpoints={name: _state(models[name]) for name in ("teacher", "student")}
            if self._save_checkpoints
            else None,
            code_files=self._code_files,
            overwrite=self._overwrite,
        )

    @contextmanager
    def _harmless(self, what: str, advice: str = CHECK_ARGUMENTS) -> Iterator[None]:
        """Nothing that goes wrong in here may reach the training loop."""
        try:
            yield
        except Exception as error:
            self._complain(what, error, advice)

    def _complain_about(self, what: str) -> Callable[[Exception], None]:
        return lambda error: self._complain(what, error)

    def _complain(self, what: str, error: Exception, advice: str = CHECK_ARGUMENTS) -> None:
        if what in self._complaints:
            return
        self._complaints.add(what)
        reason = str(error) if isinstance(error, KDDoctorError) else f"{type(error).__name__}: {error}"
        warnings.warn(
            f"kddoctor could not {what}: {reason.rstrip('.')}. Training is not affected. {advice}",
            RecorderWarning,
            stacklevel=3,
        )


def _seen_training(optimizers: Sequence[Optimizer], sources: Mapping[str, Source]) -> dict[str, object]:
    """What can be told about the training without asking."""
    seen: dict[str, object] = {}
    if optimizers:
        seen["optimizer"] = type(optimizers[0]).__name__.lower()
        group = optimizers[0].param_groups[0]
        seen["learning_rate"] = float(group["lr"])
        seen |= {key: float(group[key]) for key in ("momentum", "weight_decay") if group.get(key)}
    if "train" in sources and sources["train"].declared_batch_size is not None:
        seen["batch_size"] = sources["train"].declared_batch_size
    return seen


def _classes(splits: Mapping[str, SplitRecord]) -> int | None:
    for part in splits.values():
        logits = part.predictions.get("student_logits")
        if logits is not None:
            return int(logits.shape[-1])
    return None


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
