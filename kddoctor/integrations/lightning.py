"""Recording a Lightning module that distils, by automatic or by manual optimisation."""

from __future__ import annotations

import inspect
import os
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.errors import UsageError
from kddoctor.integrations.batches import noted
from kddoctor.integrations.counting import steps_of
from kddoctor.integrations.intercepting import Intercepted
from kddoctor.integrations.manual_steps import ManualSteps
from kddoctor.integrations.terms import named_terms
from kddoctor.run.recorder import Recorder, RecorderWarning


class LightningRecorder(Callback):  # type: ignore[misc]  # lightning is not needed to check types
    """``Trainer(callbacks=[LightningRecorder("runs/x", teacher="teacher", temperature=4.0, alpha=0.7)])``.

    teacher, student: names of the module's attributes, or modules; a module without a ``student`` is the student
    itself. options: as for :class:`kddoctor.Recorder`; optimizers and data are the trainer's own unless they are given.
    Terms of the loss are those that ``training_step`` logs, or returns in its dict, as kd_loss and ce_loss. The record
    is kept in checkpoints, and ``ckpt_path`` goes on with it. The run directory is written when training ends.

    Under manual optimisation the loss is what ``manual_backward`` is called on, as far as it holds the student's
    logits: several such losses of one forward pass are added up.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        teacher: str | nn.Module = "teacher",
        student: str | nn.Module | None = None,
        **options: Any,
    ) -> None:
        inspect.signature(Recorder).bind(run_dir, teacher=None, student=None, **options)  # names are right
        self.recorder: Recorder | None = None
        self._run_dir, self._teacher, self._student, self._options = run_dir, teacher, student, options
        self._task = options.get("task", "multiclass")
        self._kept: dict[str, Any] = {}
        self._terms: dict[str, Any] = {}
        self._batch: Any = None
        self._epoch, self._steps = 0, 0
        self._intercepted: list[Intercepted] = []
        self._manual: ManualSteps | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # What lies in the run directory after a restored checkpoint is the beginning of this very record.
        goes_on = {"overwrite": True} if self._kept else {}
        seen = {**self._seen(trainer, pl_module), **goes_on}
        self.recorder = Recorder(self._run_dir, **seen)
        self.recorder.load_state_dict(self._kept)
        self._steps = steps_of(self._kept)
        if not pl_module.automatic_optimization:
            self._manual = ManualSteps(
                seen["student"],
                trainer.optimizers,
                hand_over=self._hand_over,
                terms=lambda: len(self._terms),
                on_error=lambda error: _warn("see what training_step trains on", f"{type(error).__name__}: {error}"),
            )
        self._intercepted = [
            Intercepted(pl_module, "training_step", before=self._note, after=self._record),
            Intercepted(pl_module, "log", before=self._take_term),
        ]

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._epoch = trainer.current_epoch

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self.recorder is None or trainer.sanity_checking:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val")}
        found = {name.removeprefix("val").lstrip("_/"): value for name, value in logged.items()}
        accuracy = next((found.pop(name) for name in ("accuracy", "acc") if name in found), None)
        found |= {} if accuracy is None else {"student_accuracy": accuracy}
        if found:
            # The recorder's own count: Lightning counts updates, of every optimizer.
            self.recorder.log(split="val", step=self._steps, epoch=trainer.current_epoch, **found)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._end(None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._end(exception)

    def state_dict(self) -> dict[str, Any]:
        return self._kept if self.recorder is None else self.recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = state_dict

    def _end(self, exception: BaseException | None) -> None:
        for each in self._intercepted:
            each.close()
        recorder, self._intercepted = self.recorder, []
        if recorder is not None:
            self._kept = recorder.state_dict()  # for checkpoints that are saved after training
            self.recorder = None
            recorder.__exit__(None if exception is None else type(exception), exception, None)
        manual, self._manual = self._manual, None
        if manual is not None:
            manual.close()  # after the recorder, which watches backward() from outside of it
            if exception is None:
                _complain_of(manual)

    def _seen(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """The recorder's arguments, as trainer and module have them."""
        student = self._find_student(pl_module)
        optimizers = sorted(trainer.optimizers, key=lambda each: not _trains(each, student))  # the student's first
        group = optimizers[0].param_groups[0]
        # Schedulers with a warm-up have lowered the rate by now.
        training: dict[str, Any] = {"learning_rate": float(group.get("initial_lr", group["lr"]))}
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            training["epochs"] = trainer.max_epochs
        loader = _first(trainer.train_dataloader)
        if pl_module.automatic_optimization and isinstance(size := getattr(loader, "batch_size", None), int):
            training["batch_size"] = size * trainer.accumulate_grad_batches * trainer.world_size  # of one update
        if "PL_GLOBAL_SEED" in os.environ:
            training["seed"] = int(os.environ["PL_GLOBAL_SEED"])
        validation = trainer.val_dataloaders
        return {
            "teacher": _model(pl_module, self._teacher, "teacher"),
            "student": student,
            "optimizer": optimizers,
            "train_data": loader,
            **({} if validation is None else {"val_data": _first(validation)}),
            **self._options,
            "training": {**training, **self._options.get("training", {})},
        }

    def _find_student(self, pl_module: Any) -> nn.Module:
        if self._student is None:
            found = getattr(pl_module, "student", None)
            return found if isinstance(found, nn.Module) else pl_module
        return _model(pl_module, self._student, "student")

    def _note(self, *args: Any, **kwargs: Any) -> None:
        self._terms, self._batch = {}, args[0] if args else kwargs.get("batch")
        if self._manual is not None:
            self._manual.begin()

    def _take_term(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        self._terms |= named_terms({name: value})

    def _record(self, seen: None, result: Any) -> None:
        loss = result
        if isinstance(result, dict):
            loss = result.get("loss")
            self._terms |= named_terms({name: value for name, value in result.items() if name != "loss"})
        if self._manual is not None:
            self._manual.end()
        elif result is not None:
            self._hand_over(loss)

    def _hand_over(self, loss: Tensor) -> None:
        if self.recorder is not None:
            self._steps += 1
            mask = noted(self._batch, None, self._task).mask
            self.recorder.step(loss=loss, mask=mask, epoch=self._epoch, **self._terms)


def _model(pl_module: Any, model: str | nn.Module, role: str) -> nn.Module:
    found = getattr(pl_module, model, None) if isinstance(model, str) else model
    if not isinstance(found, nn.Module):
        raise UsageError(
            f"LightningRecorder: {type(pl_module).__name__} has no module {model!r}; pass {role}= the module, or the "
            "name of the attribute that holds it."
        )
    return found


def _trains(optimizer: Optimizer, student: nn.Module) -> bool:
    own = {id(parameter) for parameter in student.parameters()}
    return any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"])


def _complain_of(manual: ManualSteps) -> None:
    """Steps that were not recorded are said once, at the end."""
    if manual.apart:
        why = "optimizers step between two losses of the student, so that no one loss is the step's"
        _warn(f"record {manual.apart} training steps", why)
    elif not manual.handed_over:
        _warn("record a training step", "no loss that backward() was called on holds the student's logits")


def _warn(what: str, why: str) -> None:
    text = f"kddoctor could not {what}: {why}. Training is not affected."
    warnings.warn(text, RecorderWarning, stacklevel=3)


def _first(loaders: Any) -> Any:
    """Of several loaders, the first."""
    while isinstance(loaders, list | tuple | dict) and loaders:
        loaders = next(iter(loaders.values())) if isinstance(loaders, dict) else loaders[0]
    return loaders
