"""Recording a Hugging Face Trainer whose ``compute_loss`` distils."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from kddoctor.integrations.batches import Noted, noted, renamed_labels
from kddoctor.integrations.counting import steps_of
from kddoctor.integrations.intercepting import Intercepted
from kddoctor.integrations.terms import named_terms
from kddoctor.run.recorder import Recorder, RecorderWarning
from kddoctor.run.recording.undisturbed import undisturbed

STATE_FILE = "kddoctor.pt"
#: What Trainer logs of itself; the recorder has its own rows of these.
TRAINERS_OWN = ("loss", "grad_norm", "learning_rate", "epoch", "total_flos", "num_input_tokens_seen")


class KDDoctorCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not needed to check types
    """``trainer.add_callback(KDDoctorCallback("runs/x", teacher=teacher, temperature=4.0, alpha=0.7))``.

    teacher: the module that ``compute_loss`` calls. options: as for :class:`kddoctor.Recorder`; student, optimizer
    and data are the trainer's own unless they are given. Every micro-batch is a step. Terms of the loss are those that
    ``compute_loss`` logs by ``self.log({"kd_loss": kd, "ce_loss": ce})``. The record is kept in every checkpoint, and
    ``resume_from_checkpoint`` goes on with it. The run directory is written when training ends.
    """

    def __init__(self, run_dir: str | Path, *, teacher: Any, **options: Any) -> None:
        inspect.signature(Recorder).bind(run_dir, teacher=teacher, student=None, **options)  # names are right
        self.recorder: Recorder | None = None
        self._run_dir, self._teacher, self._options = run_dir, teacher, options
        self._task = options.get("task", "multiclass")
        self._label: str | None = None
        self._in_step, self._steps = False, 0
        self._terms: dict[str, Any] = {}
        self._intercepted: list[Intercepted] = []
        self._state: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._close()
        trainer, resumed_from = _trainer_that_calls()
        if trainer is None:
            self._warn("find the Trainer that calls it", "add the callback to a transformers.Trainer")
            return
        self._state = state
        self._label = next(iter(trainer.label_names or ()), None)
        held = None if resumed_from is None else _saved_record(Path(resumed_from))
        if resumed_from is not None and held is None:
            why = f"{STATE_FILE} is missing there, or broken; the record begins here"
            self._warn(f"go on with the record of {resumed_from}", why)
        # What lies in the run directory after a resumption is the beginning of this very record.
        goes_on = {} if held is None else {"overwrite": True}
        self.recorder = Recorder(self._run_dir, **{**self._seen(trainer, kwargs), **goes_on})
        self._steps = steps_of(held or {})
        if held is not None:
            self.recorder.load_state_dict(held)
        self._intercepted = [
            Intercepted(trainer, "compute_loss", before=self._note, after=self._record),
            Intercepted(trainer, "log", before=self._take_terms),
        ]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._in_step = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._in_step = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        own = {
            name: value
            for name, value in (logs or {}).items()
            if name not in TRAINERS_OWN and not name.startswith(("eval_", "train_")) and isinstance(value, float | int)
        }
        if self.recorder is not None and own and not self._in_step:
            self.recorder.log(split="train", step=self._steps, epoch=_finished_epoch(state), **own)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        if self.recorder is None:
            return
        found = {name.removeprefix("eval_"): v for name, v in (metrics or {}).items() if isinstance(v, float | int)}
        found.pop("epoch", None)
        if "accuracy" in found:
            found["student_accuracy"] = found.pop("accuracy")
        # The recorder's own count: Trainer counts updates, which accumulation makes of several batches.
        self.recorder.log(split="val", step=self._steps, epoch=_finished_epoch(state), **found)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self.recorder is None or not state.is_world_process_zero or not folder.is_dir():
            return
        partial = folder / f".{STATE_FILE}.partial"
        try:
            torch.save(self.recorder.state_dict(), partial)
            partial.replace(folder / STATE_FILE)
        except (OSError, RuntimeError) as error:  # torch says the latter of a full disk
            self._warn(f"keep its record in {folder}", str(error))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        recorder = self.recorder
        self._close()
        if recorder is not None:
            with recorder:  # so that what goes wrong is a warning
                pass

    def _seen(self, trainer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """The recorder's arguments, as the trainer has them."""
        args = trainer.args
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        training = {"learning_rate": args.learning_rate, "batch_size": batch, "seed": args.seed}
        if args.max_steps <= 0:
            training["epochs"] = math.ceil(args.num_train_epochs)
        seen: dict[str, Any] = {
            "teacher": self._teacher,
            "student": trainer.model,
            "optimizer": given.get("optimizer"),
            "train_data": renamed_labels(given["train_dataloader"], self._label),
            **self._options,
            "training": {**training, **self._options.get("training", {})},
        }
        if trainer.eval_dataset is not None and "val_data" not in self._options:
            several = isinstance(trainer.eval_dataset, dict)
            with undisturbed():  # samplers of the trainer draw their seeds when they are made
                loader = trainer.get_eval_dataloader(next(iter(trainer.eval_dataset)) if several else None)
            seen["val_data"] = renamed_labels(loader, self._label)
        return seen

    def _note(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Noted:
        """Before compute_loss, which may take the labels out of the batch."""
        self._terms = {}
        return noted(inputs, self._label, self._task) if self._in_step else Noted()

    def _take_terms(self, logs: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        if self._in_step:
            self._terms |= named_terms(logs)

    def _record(self, seen: Noted, result: Any) -> None:
        if self.recorder is None or not self._in_step:
            return
        loss = result[0] if isinstance(result, tuple) else result
        epoch = int(self._state.epoch or 0)
        self._steps += 1
        self.recorder.step(loss=loss, labels=seen.labels, mask=seen.mask, epoch=epoch, **self._terms)

    def _close(self) -> None:
        for each in self._intercepted:
            each.close()
        self._intercepted, self.recorder, self._in_step = [], None, False

    def _warn(self, what: str, why: str) -> None:
        text = f"kddoctor could not {what}: {why}. Training is not affected."
        warnings.warn(text, RecorderWarning, stacklevel=3)


def _trainer_that_calls() -> tuple[Any, str | None]:
    """The Trainer, and the checkpoint that it resumes from.

    Trainer hands its callbacks everything but itself: it is the object whose method called us.
    """
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer) and "resume_from_checkpoint" in frame.f_locals:
            return owner, frame.f_locals["resume_from_checkpoint"]
        frame = frame.f_back  # type: ignore[assignment]
    return None, None


def _saved_record(checkpoint: Path) -> dict[str, Any] | None:
    try:
        return torch.load(checkpoint / STATE_FILE, weights_only=True, map_location="cpu")  # type: ignore[no-any-return]
    except Exception:  # a damaged file fails in many ways
        return None


def _finished_epoch(state: Any) -> int:
    return max(0, math.ceil(state.epoch or 0) - 1)
