"""Recording a Keras distillation: a custom ``train_step``, or ``keras.distillation.Distiller``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kddoctor.errors import UsageError, one_line
from kddoctor.integrations.keras_data import batches, check_data, first_input, labels_of, logits_of
from kddoctor.integrations.keras_record import Record, drift
from kddoctor.integrations.keras_replay import Replay, as_numpy, optimizers_of, predicted, replay
from kddoctor.integrations.terms import named_terms
from kddoctor.run.arrays import Array
from kddoctor.run.manifest import TASKS_WITH_CLASSES, manifest_from
from kddoctor.run.recorder import RecorderWarning
from kddoctor.run.recording.fingerprinting import fingerprints
from kddoctor.run.recording.thinning import Thinned
from kddoctor.run.writer import refuse_existing, write_run

IGNORED = -100


class KerasRecorder(keras.callbacks.Callback):  # type: ignore[misc]  # keras is untyped
    """Pass it to ``fit(callbacks=[…])``; the run directory is written when training ends.

    teacher, student: taken from the model's attributes of these names where they are not given; without such, the
    student is the model itself. train_data, val_data: as ``fit`` takes them, but readable more than once. The rest as
    for ``kddoctor.record``; a Distiller's temperature, alpha and loss are read off it.

    Steps are recorded by running the model's own ``train_step`` once more, uncompiled, on batches of ``train_data``,
    and putting everything back: weights, optimizers, metrics, seeds. Terms of the loss are those that it returns under
    the names kd_loss or distillation_loss, and ce_loss or student_loss.

    A training that ``BackupAndRestore`` goes on with, or one with ``initial_epoch``, goes on with its record.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        teacher: Any = None,
        student: Any = None,
        train_data: Any = None,
        val_data: Any = None,
        temperature: float | None = None,
        alpha: float | None = None,
        loss: str | None = None,
        temperature_squared: bool = True,
        task: str = "multiclass",
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        training: Mapping[str, object] | None = None,
        targets: Mapping[str, object] | None = None,
        batch_size: int = 32,
        max_steps: int = 32,
        max_examples: int = 10_000,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        if train_data is None and val_data is None:
            raise UsageError("KerasRecorder needs train_data or val_data: without predictions there is no diagnosis.")
        self._data = {k: v for k, v in (("val", val_data), ("train", train_data)) if v is not None}
        for split, data in self._data.items():
            check_data(data, f"{split}_data")
        self.path = Path(run_dir)
        self._teacher, self._student = teacher, student
        self._meant = {"temperature": temperature, "alpha": alpha, "loss": loss}
        self._manifest: dict[str, Any] = {
            "task": task,
            "num_classes": num_classes,
            "class_names": None if class_names is None else list(class_names),
            "targets": dict(targets or {}),
        }
        self._t_squared, self._training = temperature_squared, dict(training or {})
        self._batch_size, self._max_steps, self._max_examples = batch_size, max_steps, max_examples
        self._overwrite = overwrite
        self._record: Record | None = None
        self._epoch, self._finished_epochs = 0, 0
        self._source: Iterator[tuple[Any, ...]] = iter(())
        self._complaints: set[str] = set()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        # Only now is it known whether training begins or goes on: another callback may have restored it.
        if self._record is None or epoch != self._finished_epochs:
            self._begin(epoch)
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        record = self._record
        if record is None:
            return
        with self._harmless("record a training step"):
            # Some backends bring the model up to date whenever it is asked for, so that not every step may ask.
            if record.steps.wants() and _is_built(self.model) and self._record_step(record):
                return
        record.steps.skip()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._record is None:
            return
        self._finished_epochs = epoch + 1
        with self._harmless("log an epoch"):
            self._record.rows += list(_epoch_rows(epoch, self._record.steps.offered, logs or {}))
            self._record.save(self._state_file, epoch + 1)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self._record is None:
            return
        with self._harmless(f"write {self.path}"):
            self._write(self._record)
            self._overwrite = True  # what lies there now is this record, should fit() go on
            self._state_file.unlink(missing_ok=True)

    @property
    def _state_file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.recording.safetensors")

    def _begin(self, epoch: int) -> None:
        self._find_models()
        self._manifest["distillation"] = self._declared()
        self._manifest["training"] = {**self._seen_training(), **self._training}
        manifest_from({**self._manifest, "num_classes": self._manifest["num_classes"] or 2})
        weights = [as_numpy(weight).copy() for weight in self._teacher.weights]
        self._record = Record(Thinned(self._max_steps), weights)
        goes_on = epoch > 0 and self._record.load(self._state_file, epoch)
        self._overwrite = self._overwrite or goes_on
        refuse_existing(self.path, self._overwrite)
        self._finished_epochs = epoch

    def _find_models(self) -> None:
        if self._teacher is None:
            self._teacher = getattr(self.model, "teacher", None)
        if self._teacher is None:
            raise UsageError("KerasRecorder finds no teacher: pass teacher=, or call it so in the model.")
        if self._student is None:
            self._student = getattr(self.model, "student", self.model)

    def _declared(self) -> dict[str, Any]:
        meant = {name: value for name, value in self._meant.items() if value is not None}
        return {"loss": "kl", **_read_off(self.model), **meant, "temperature_squared": self._t_squared}

    def _seen_training(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"batch_size": self._batch_size, "epochs": self.params.get("epochs")}
        for optimizer in optimizers_of(self.model)[:1]:
            inner = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales the loss
            seen |= {
                "optimizer": type(inner).__name__.lower(),
                "learning_rate": float(as_numpy(inner.learning_rate)),
            }
        return seen

    def _record_step(self, record: Record) -> bool:
        """Whether a step was recorded: the first batch of a backend may come before everything is built."""
        batch = self._next_batch()
        done = replay(self.model, self._student, self._teacher, batch)
        if "loss" not in done.logs or not done.student.answers:
            raise UsageError("train_step returns no loss, or does not call the student")
        step = {"step": record.steps.offered, **self._arrays(done, batch), **_losses(done.logs)}
        record.add(step, teacher_trained=done.teacher.trained, same_inputs=_same_inputs(done))
        lr = {"lr": self._seen_training()["learning_rate"]} if optimizers_of(self.model) else {}
        when = {"step": step["step"], "epoch": self._epoch, "split": "train"}
        record.rows.append({**when, **_losses(done.logs), **lr})
        return True

    def _arrays(self, done: Replay, batch: tuple[Any, ...]) -> dict[str, Array]:
        task = self._manifest["task"]
        student = logits_of(done.student.answers[-1], task)
        check = logits_of(done.teacher_check, task)
        teacher = logits_of(done.teacher.answers[-1], task) if done.teacher.answers else check
        arrays = {"student_logits": student, "teacher_logits": teacher, "labels": labels_of(batch[1], student, task)}
        if check.shape == teacher.shape:
            arrays["teacher_logits_check"] = check
        if task == "tokens":
            weights = np.ones(arrays["labels"].shape) if len(batch) < 3 else first_input(batch[2])
            arrays["mask"] = (arrays["labels"] != IGNORED) & (np.broadcast_to(weights, arrays["labels"].shape) > 0)
        return arrays

    def _next_batch(self) -> tuple[Any, ...]:
        data = self._data.get("train", self._data.get("val"))
        batch = next(self._source, None)
        if batch is None:
            self._source = batches(data, self._batch_size)
            batch = next(self._source)
        return batch

    def _write(self, record: Record) -> None:
        predictions = {split: self._predictions(data) for split, data in self._data.items()}
        hashes = {split: arrays.pop("fingerprint") for split, arrays in predictions.items()}
        manifest = dict(self._manifest)
        if manifest["num_classes"] is None and manifest["task"] in TASKS_WITH_CLASSES:
            manifest["num_classes"] = int(next(iter(predictions.values()))["student_logits"].shape[-1])
        observations = {
            "parameters": {"teacher": self._teacher.count_params(), "student": self._student.count_params()},
            "nonfinite_steps": record.nonfinite,
            "teacher_drift": drift(record.teacher, [as_numpy(weight) for weight in self._teacher.weights]),
            **({"same_inputs": record.same_inputs} if record.same_inputs is not None else {}),
            **({"teacher_training": record.teacher_trained} if record.steps.items else {}),
        }
        write_run(
            self.path,
            manifest_from(manifest),
            predictions=predictions,
            steps=record.arrays(),
            metrics=record.rows,
            observations=observations,
            fingerprints=hashes,
            overwrite=self._overwrite,
        )

    def _predictions(self, data: Any) -> dict[str, Array]:
        task, rows, columns = self._manifest["task"], 0, []
        for x, y, *_ in batches(data, self._batch_size):
            student = logits_of(predicted(self._student, x), task)
            hashes = fingerprints(torch.from_numpy(np.ascontiguousarray(first_input(x))), len(student))
            teacher = logits_of(predicted(self._teacher, x), task)
            columns.append((labels_of(y, student, task), teacher, student, hashes))
            rows += len(student)
            if rows >= self._max_examples:
                break
        names = ("labels", "teacher_logits", "student_logits", "fingerprint")
        whole = [np.concatenate(parts)[: self._max_examples] for parts in zip(*columns, strict=True)]
        return dict(zip(names, whole, strict=True)) | {"example_ids": np.arange(len(whole[0]))}

    @contextmanager
    def _harmless(self, what: str) -> Iterator[None]:
        """Nothing that goes wrong in here may reach the training."""
        try:
            yield
        except Exception as error:
            if what not in self._complaints:
                self._complaints.add(what)
                reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
                text = f"kddoctor could not {what}: {one_line(reason).rstrip('.')}. Training is not affected."
                warnings.warn(text, RecorderWarning, stacklevel=3)


def _is_built(model: Any) -> bool:
    return bool(model.built) and all(optimizer.built for optimizer in optimizers_of(model))


def _read_off(model: Any) -> dict[str, Any]:
    """What a keras.distillation.Distiller says of itself. Its weight is that of the labels; alpha is the other one."""
    losses, weight = getattr(model, "distillation_losses", None), getattr(model, "student_loss_weight", None)
    if not losses or weight is None:
        return {}
    temperatures = [loss.temperature for loss in losses if hasattr(loss, "temperature")]
    return {"alpha": 1 - float(weight), **({"temperature": float(temperatures[0])} if temperatures else {})}


def _losses(logs: Mapping[str, float]) -> dict[str, float]:
    return {"loss": logs["loss"], **named_terms(logs)}


def _same_inputs(done: Replay) -> bool | None:
    if not done.student.inputs or not done.teacher.inputs:
        return None
    student, teacher = done.student.inputs[-1], done.teacher.inputs[-1]
    return student.shape == teacher.shape and bool(np.array_equal(student, teacher))


def _epoch_rows(epoch: int, step: int, logs: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """One row for the held-out data: training has rows of its own steps."""
    values = {name.removeprefix("val_"): float(value) for name, value in logs.items() if name.startswith("val_")}
    if values:
        renamed = {"student_accuracy" if name.endswith("accuracy") else name: value for name, value in values.items()}
        yield {"step": step, "epoch": epoch, "split": "val", **renamed, **named_terms(values)}
