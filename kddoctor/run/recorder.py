"""Recording a distillation while it runs, without changing what it computes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.errors import UsageError
from kddoctor.run.recording.batches import Source, source_of
from kddoctor.run.recording.calling import RowIds, Transform, bare
from kddoctor.run.recording.complaints import Complaints, RecorderWarning
from kddoctor.run.recording.disk import MEGABYTE
from kddoctor.run.recording.evaluating import Evaluation
from kddoctor.run.recording.intent import Intent, seen_training
from kddoctor.run.recording.layers import Layers, find_layers, layer_pairs
from kddoctor.run.recording.lifetime import Lifetime
from kddoctor.run.recording.live import LiveSteps
from kddoctor.run.recording.pace import Pace
from kddoctor.run.recording.predicting import Predicting
from kddoctor.run.recording.process import is_first_process, optimizers_in
from kddoctor.run.recording.recordkeeping import Recordkeeping
from kddoctor.run.recording.redirection import redirected
from kddoctor.run.recording.snapshots import SnapshotTaking
from kddoctor.run.recording.teacher_before import TeacherBefore
from kddoctor.run.recording.teachers import Teacher, teachers_in
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.witnesses import Witnesses
from kddoctor.run.writer import refuse_existing

__all__ = ["Recorder", "RecorderWarning", "record"]

Logits = Tensor | Mapping[str, Tensor]

#: Share of the disk space that the sampled steps may take.
STEPS_SHARE = 0.5
FINISHED = "finished"


class Recorder:
    """Records a distillation into a run directory, which :func:`kddoctor.diagnose` reads.

    As a context manager round the training loop, or without one: then finish() writes the record, and where nobody
    calls it, the end of the process does. Trained weights are bit-identical with and without it.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        teacher: Teacher,
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
        teacher_logits: Logits | None = None,
        row_ids: RowIds | None = None,
        baseline: nn.Module | Logits | None = None,
        max_steps: int = 32,
        max_examples: int = 10_000,
        feature_examples: int = 512,
        max_megabytes: float = 200,
        checkpoint_seconds: float | None = 60,
        save_inputs: bool = False,
        save_checkpoints: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Watch from now on.

        teacher, student: the modules that the loop runs. Several teachers are a sequence or mapping of modules; None
        is a teacher of which there are cached logits alone. teacher_logits: these, in the order of the data: of
        val_data, or {"train": ..., "val": ...}. optimizer: that of the student, one or several. train_data, val_data:
        a DataLoader, a Dataset or a pair (inputs, labels); at least one, for the predictions. They are read in order
        after training, through a loader of the recorder's own. temperature, alpha, loss, temperature_squared: what
        the loop is meant to do, as in kd_run.yaml. num_classes: taken from the logits where it is not given. layers:
        names, looked up in both models, or {"teacher": [...], "student": [...]}, whose activations to keep; by
        default up to four stages of each, averaged over space where they are large; [] for none. teacher_transform:
        the student's input batch to the teacher's. row_ids: an input batch to {"group_ids": [B], "item_ids": [B]},
        the query or user and the item of each row. baseline: the student trained without a teacher, or its logits, as
        teacher_logits. code, code_files: how a later retraining finds the models, and files to put into the run
        directory for it. max_steps, max_examples, feature_examples: bounds on training steps, rows a split, and rows
        of features. max_megabytes: of the arrays on disk; see docs/record-pytorch.md for what is dropped first.
        checkpoint_seconds: the shortest time between two records that are written in between; None for none.
        Where KDDOCTOR_RUN_DIR is set in the environment, the record goes there and replaces what is there.

        Everything that goes wrong later is one RecorderWarning of its kind, and training goes on.

        Raises UsageError or RunError, before training, where the directory is taken or an argument is wrong.
        """
        if train_data is None and val_data is None:
            raise UsageError("record needs train_data or val_data: without predictions there is no diagnosis.")
        teachers, optimizers = teachers_in(teacher), optimizers_in(optimizer)
        if teachers.model is None and teacher_logits is None:
            raise UsageError("record needs teacher_logits where teacher is None: the teacher's logits of val_data.")
        sources = _sources(train_data, val_data)
        named = find_layers(layers, teachers.model, student)
        intent = Intent(
            {
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
                "training": {**seen_training(optimizers, sources), **(training or {})},
                "targets": dict(targets or {}),
                "code": None if code is None else dict(code),
            }
        )
        self.path, overwrite = redirected(Path(run_dir), overwrite)
        refuse_existing(self.path, overwrite)
        models = {"teacher": teachers.model, "student": bare(student)}
        if isinstance(baseline, nn.Module):
            models["baseline"] = bare(baseline)
        predicting = Predicting(
            models={name: model for name, model in models.items() if model is not None},
            layers=named,
            task=task,
            transform=teacher_transform,
            row_ids=row_ids,
            max_examples=max_examples,
            feature_examples=feature_examples,
            save_inputs=save_inputs,
            cached=_cached(teacher_logits if teachers.model is None else None, baseline),
            pooled=layers is None,
        )
        self._snapshots = SnapshotTaking(predicting, *next(iter(sources.items())))
        self._complaints = Complaints()
        self._pace = Pace(checkpoint_seconds)
        self._keeping = Recordkeeping(
            path=self.path,
            intent=intent,
            evaluation=Evaluation(predicting, sources, self._complaints),
            complaints=self._complaints,
            max_megabytes=max_megabytes,
            code_files=dict(code_files or {}),
            save_checkpoints=save_checkpoints,
            overwrite=overwrite,
            snapshots=self._snapshots,
        )
        self._state = "open"
        self._witnesses: Witnesses | None = None
        self._lifetime: Lifetime | None = None
        if not is_first_process():
            return
        with self._complaints.harmless("watch the models"):
            live = LiveSteps(
                teachers,
                student,
                optimizers,
                task=task,
                transform=teacher_transform,
                max_steps=max_steps,
                max_bytes=int(max_megabytes * MEGABYTE * STEPS_SHARE),
                rows=sources["train"].length if "train" in sources else None,
                on_error=self._complaints.about("watch the models"),
            )
            self._witnesses = Witnesses(live, self._complaints)
            self._lifetime = Lifetime(self._at_exit)
        if save_checkpoints and teachers.model is not None:
            with self._complaints.harmless("keep the teacher's weights"):
                self._keeping.teacher_before = TeacherBefore(teachers.model)

    def __enter__(self) -> Self:
        if self._state != "open":
            raise UsageError("a recorder can be entered once; call record again for another run.")
        self._state = "entered"
        if self._lifetime is not None:
            self._lifetime.belongs_to_block()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._complaints.harmless(f"write {self.path}", "Mend this before the next run."):
            self._finish(FINISHED if kind is None else kind.__name__)

    def step(
        self,
        *,
        loss: Tensor | float | None = None,
        student_logits: Tensor | None = None,
        teacher_logits: Tensor | None = None,
        labels: Tensor | None = None,
        kd_loss: Tensor | float | None = None,
        ce_loss: Tensor | float | None = None,
        feature_loss: Tensor | float | None = None,
        mask: Tensor | None = None,
        example_ids: Tensor | None = None,
        epoch: int | None = None,
        step: int | None = None,
        **scalars: Any,
    ) -> None:
        """Record one training step; before or after backward() and optimizer.step(). Never raises.

        loss: the total. kd_loss, ce_loss, feature_loss: its terms before their weights. student_logits,
        teacher_logits: raw, [B, C]. mask: for tokens, [B, L], true where a position counts. example_ids: [B], places of
        the rows in train_data. step: counted from 0 where it is not given. scalars: further numbers for metrics.jsonl.

        What is left out is picked up: logits from the models' forward calls since the last step, the loss from the
        backward() that the loop called, labels from the loss, the model's arguments or the training data. A loop that
        changes logits between the teacher and the loss, or has several teachers, has to give teacher_logits. Call it
        before backward() with the loss as a tensor, and gradients of its terms are recorded too.
        """
        if self._witnesses is None or self._state == FINISHED:
            return
        with self._complaints.harmless("record a training step"):
            terms = {"kd_loss": kd_loss, "ce_loss": ce_loss, "feature_loss": feature_loss}
            tensors = {
                "student_logits": student_logits,
                "teacher_logits": teacher_logits,
                "labels": labels,
                "mask": mask,
            }
            self._witnesses.live.step(
                loss, terms, tensors, example_ids=example_ids, epoch=epoch, number=step, scalars=scalars
            )
            self._witnesses.after_step()
        if self._pace.due():
            with self._complaints.harmless("write the record in between"):
                self._checkpoint(self._witnesses)

    def log(self, **scalars: Any) -> None:
        """Add a row to metrics.jsonl, such as log(split="val", epoch=3, loss=0.8). Never raises."""
        if self._witnesses is not None and self._state != FINISHED:
            with self._complaints.harmless("log metrics"):
                self._witnesses.live.log(scalars)

    def snapshot(self, *, epoch: int | None = None) -> None:
        """Keep what the student says now about the first 256 held-out rows. Never raises.

        Once an epoch, or less often: it runs the student over these rows. Of more than 16 snapshots, every other one is
        dropped. From them come the similarity of layers over the training, and which rows were hard to learn.
        """
        if self._witnesses is None or self._state == FINISHED:
            return
        live = self._witnesses.live
        with self._complaints.harmless("take a snapshot"), live.watching.paused(), undisturbed(live.student):
            self._snapshots.take(live.count, epoch)

    def finish(self) -> Path:
        """Run both models over the data, and write the run directory. Called at the end of the block.

        Raises UsageError where the directory cannot be written. Returns its path; later calls do nothing.
        """
        self._finish(FINISHED)
        return self.path

    def state_dict(self) -> dict[str, Any]:
        """Everything recorded so far, as tensors and plain values (safe for weights_only loading)."""
        if self._witnesses is None:
            return {}
        return {**self._witnesses.state_dict(), "snapshots": self._snapshots.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an interrupted run's state_dict(); call it before the first step."""
        if self._witnesses is not None and state:
            self._witnesses.load_state_dict(state)
            if "snapshots" in state:
                self._snapshots.load_state_dict(state["snapshots"])

    def _checkpoint(self, witnesses: Witnesses) -> None:
        started = time.monotonic()
        with witnesses.live.watching.paused():
            self._keeping.write_few_rows(witnesses.live, witnesses.observations(), ended="not yet")
        self._pace.took(time.monotonic() - started)

    def _finish(self, ended: str) -> None:
        if self._state == FINISHED:
            return
        self._state = FINISHED
        if self._lifetime is not None:
            self._lifetime.close()
        if self._witnesses is None:
            return
        try:
            last = self._witnesses.last_step()
            observations = {**self._witnesses.observations(), **last}
        finally:
            self._witnesses.close()
        if ended != FINISHED:
            # Whoever stopped the process may not wait for all rows.
            with self._complaints.harmless("write the record"):
                self._keeping.write_few_rows(self._witnesses.live, observations, ended)
        self._keeping.write_all_rows(self._witnesses.live, observations, ended)

    def _at_exit(self) -> None:
        failed = getattr(sys, "last_type", None)
        with self._complaints.harmless(f"write {self.path}", "Mend this before the next run."):
            self._finish("exit" if failed is None else failed.__name__)


#: Reads better after ``with``.
record = Recorder


def _sources(train_data: object, val_data: object) -> dict[str, Source]:
    given = {"val": val_data, "train": train_data}
    return {split: source_of(data, f"{split}_data") for split, data in given.items() if data is not None}


def _cached(teacher: Logits | None, baseline: nn.Module | Logits | None) -> dict[str, Mapping[str, Tensor]]:
    given = {"teacher_logits": teacher, "baseline_logits": None if isinstance(baseline, nn.Module) else baseline}
    return {
        name: logits if isinstance(logits, Mapping) else {"val": logits}
        for name, logits in given.items()
        if logits is not None
    }
