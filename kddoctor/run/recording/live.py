"""What is recorded while the loop runs: sampled steps, metrics, and what the models were seen doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.calling import Transform, bare
from kddoctor.run.recording.ending import compared
from kddoctor.run.recording.gradients import gradient_weights, term_gradients
from kddoctor.run.recording.graph import Bystanders, expected_gradient_norm, merged, reach
from kddoctor.run.recording.input_statistics import InputStatistics
from kddoctor.run.recording.labelling import class_labels
from kddoctor.run.recording.metrics import MetricRows, batch_rates
from kddoctor.run.recording.outputs import copied, is_finite, number_of, version
from kddoctor.run.recording.steps import Step, StepSample
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.watch import ModelWatch, Seen

MAX_LISTED = 100
WALKED_STEPS = 3  # a term may join late, such as after a warm-up
CLOSE = 1e-5  # relative: the same transform twice, on hardware that adds in another order

Terms = dict[str, Tensor | float | None]


class LiveSteps:
    """The recorder's memory of the loop. step() raises freely; the caller keeps that from the loop."""

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        task: str,
        transform: Transform | None,
        max_steps: int,
    ) -> None:
        self.teacher, self.student, self.optimizers = teacher, student, list(optimizers)
        self.task = task
        self.transform = transform
        self.sample = StepSample(max_steps)
        self.metrics = MetricRows()
        self.num_classes: int | None = None
        self.count = 0
        self.nonfinite: list[int] = []
        self.nonfinite_count = 0
        self.same_inputs: bool | None = None
        self.teacher_trained: bool | None = None
        self.cosines: list[float] = []
        self.reach: dict[str, Any] = {}
        self.inputs = {role: InputStatistics() for role in ("student", "teacher")}
        self._walked = 0
        self._bystanders = Bystanders()
        self._last: _Held | None = None
        self._final: _Held | None = None
        self._awaiting_norm: Step | None = None
        self._watches: dict[str, ModelWatch] = {}

    def begin(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._watches = {"teacher": ModelWatch(self.teacher, on_error)}
        if self.student is not self.teacher:
            self._watches["student"] = ModelWatch(self.student, on_error)

    def step(
        self,
        loss: Tensor | float,
        terms: Terms,
        tensors: dict[str, Tensor | None],
        *,
        epoch: int | None,
        number: int | None,
        scalars: dict[str, Any],
    ) -> None:
        number = self.count if number is None else int(number)
        self.count = number + 1
        finite = is_finite(loss)
        if not finite:
            self.nonfinite_count += 1
            if len(self.nonfinite) < MAX_LISTED:
                self.nonfinite.append(number)
        named = {name: value for name, value in tensors.items() if value is not None}
        values = {"loss": loss, **{name: term for name, term in terms.items() if term is not None}}
        teacher = self._seen("teacher")
        if teacher is not None and teacher.rows != len(named["student_logits"]):
            # Run over something else than this batch: a cache that was just filled, say.
            teacher = None
        held = _Held(number, values, named, self._seen("student"), teacher)
        size, step_bytes = len(named["student_logits"]), _bytes(named)
        self._last, self._final = None, held.without_graph()
        if self.sample.wants(size, step_bytes, finite):
            kept = {**self._copied(held), **self._gradient_norms(named, values)}
            self._await_norm(kept, values)
            self._walk(values)
            self.sample.keep(size, kept, finite)
        elif size in self.sample.by_size:
            self._last = self._final
        for watch in self._watches.values():
            watch.forget()
        self._metric_row(held, epoch, scalars)

    def add_last_step(self) -> None:
        """The last step is worth having, whether or not the even spacing fell on it."""
        last = self._last
        if last is not None and last.intact:
            self.sample.append_last(len(last.tensors["student_logits"]), self._copied(last))
        self._last = None

    def log(self, scalars: dict[str, Any]) -> None:
        self.metrics.log(scalars)

    def rows(self) -> list[dict[str, Any]]:
        return self.metrics.rows()

    def wants_gradient_norm(self) -> bool:
        return self._awaiting_norm is not None or self.metrics.wants_gradient_norm()

    def take_gradient_norm(self, norm: float) -> None:
        if self._awaiting_norm is not None:
            self._awaiting_norm["grad_norm"] = norm
            self._awaiting_norm = None
        if self.metrics.wants_gradient_norm():
            self.metrics.take_gradient_norm(norm)

    def last_step_again(self) -> dict[str, float] | None:
        """The student as it is now on the inputs of the last step, beside what it answered there."""
        held = self._final
        if held is None or held.student is None or not held.student.intact or not held.intact:
            return None
        self.pause()
        student = bare(self.student)
        with undisturbed(student):
            now = copied(held.student.again(student))
        return compared(copied(held.tensors["student_logits"]), now, copied(held.tensors["labels"]))

    def observations(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "parameters": {
                name: sum(p.numel() for p in model.parameters())
                for name, model in (("teacher", self.teacher), ("student", self.student))
            },
            "nonfinite_steps": list(self.nonfinite),
            "nonfinite_count": self.nonfinite_count,
            "recorded_steps": self.count,
        }
        trained = self._teacher_trained()
        if trained is not None:
            facts["teacher_training"] = trained
        if self.same_inputs is not None:
            facts["same_inputs"] = self.same_inputs
        if self.reach:
            facts["graph"] = self.reach
        seen = {f"loop_{role}": statistics.facts() for role, statistics in self.inputs.items()}
        facts["inputs"] = {place: found for place, found in seen.items() if found}
        if self.cosines:
            facts["grad_cosine_kd_ce"] = sum(self.cosines) / len(self.cosines)
        return facts

    def pause(self) -> None:
        for watch in self._watches.values():
            watch.paused = True

    def close(self) -> None:
        self.teacher_trained = self._teacher_trained()
        for watch in self._watches.values():
            watch.close()
        self._watches = {}
        self._last = self._final = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "sample": self.sample.state_dict(),
            "metrics": self.metrics.state_dict(),
            "num_classes": self.num_classes,
            "count": self.count,
            "nonfinite": list(self.nonfinite),
            "nonfinite_count": self.nonfinite_count,
            "same_inputs": self.same_inputs,
            "teacher_trained": self._teacher_trained(),
            "cosines": list(self.cosines),
            "graph": self.reach,
            "walked": self._walked,
            "inputs": {role: statistics.state_dict() for role, statistics in self.inputs.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sample.load_state_dict(state["sample"])
        self.metrics.load_state_dict(state["metrics"])
        for name in ("num_classes", "count", "nonfinite_count", "same_inputs", "teacher_trained"):
            setattr(self, name, state[name])
        self.nonfinite, self.cosines = list(state["nonfinite"]), list(state["cosines"])
        self.reach, self._walked = state["graph"], state["walked"]
        for role, statistics in self.inputs.items():
            statistics.load_state_dict(state["inputs"][role])

    def _seen(self, model: str) -> Seen | None:
        watch = self._watches.get(model)
        return None if watch is None else watch.seen

    def _teacher_trained(self) -> bool | None:
        watch = self._watches.get("teacher")
        if watch is None or not watch.forwards:
            return self.teacher_trained
        return watch.trained or bool(self.teacher_trained)

    def _metric_row(self, held: _Held, epoch: int | None, scalars: dict[str, Any]) -> None:
        logits = held.tensors["student_logits"]
        if self.num_classes is None and logits.ndim > 1:
            self.num_classes = int(logits.shape[-1])

        def row() -> dict[str, Any]:
            when = {"step": held.number, "split": "train", **({} if epoch is None else {"epoch": epoch})}
            numbers = {name: number_of(value) for name, value in held.values.items()}
            lr = {"lr": float(self.optimizers[0].param_groups[0]["lr"])} if self.optimizers else {}
            return {**when, **numbers, **lr, **batch_rates(held.tensors, self.task), **scalars}

        self.metrics.step(row)

    def _copied(self, held: _Held) -> Step:
        """Everything of one step that the file keeps, copied out of the loop's hands."""
        tensors = {name: copied(value) for name, value in held.tensors.items()}
        step: Step = {"step": held.number, **{name: number_of(value) for name, value in held.values.items()}}
        step |= class_labels(tensors.pop("labels"), tensors["student_logits"], self.task)
        if self.task == "tokens":
            mask = tensors.pop("mask", None)
            counts = step["labels"] != IGNORED
            step["mask"] = counts if mask is None else mask.bool()
        step |= tensors
        self._compare_inputs(held)
        for role, seen in (("student", held.student), ("teacher", held.teacher)):
            if seen is not None and seen.intact:
                self.inputs[role].update(seen.inputs)
        check = self._teacher_again(held)
        if check is not None and check.shape == step["teacher_logits"].shape:
            step["teacher_logits_check"] = check.to(step["teacher_logits"].dtype)
        return step

    def _gradient_norms(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> Step:
        terms = {"kd": values.get("kd_loss"), "ce": values.get("ce_loss"), "loss": values["loss"]}
        gradients = term_gradients(tensors["student_logits"], terms)
        if "kd" in gradients and "ce" in gradients:
            kd, ce = gradients["kd"].flatten().double(), gradients["ce"].flatten().double()
            cosine = float(torch.nn.functional.cosine_similarity(kd, ce, dim=0))
            if torch.isfinite(torch.tensor(cosine)):
                self.cosines = [*self.cosines[-MAX_LISTED:], cosine]
        norms = {f"{name}_grad_norm": float(gradient.norm()) for name, gradient in gradients.items()}
        return {**norms, **gradient_weights(gradients)}

    def _await_norm(self, step: Step, values: dict[str, Any]) -> None:
        """Remember what gradient the loss of this step has; what the optimizer gets is seen at its next step."""
        self._awaiting_norm = None
        expected = expected_gradient_norm(values["loss"], self.student) if self.optimizers else None
        if expected is not None:
            step["expected_grad_norm"] = expected
            self._awaiting_norm = step

    def _walk(self, values: dict[str, Any]) -> None:
        if self._walked < WALKED_STEPS:
            optimized = (id(p) for o in self.optimizers for group in o.param_groups for p in group["params"])
            found = reach(values, self.student, self.teacher, optimized, self._bystanders)
            self._walked += bool(found)
            self.reach = merged(self.reach, found)

    def _compare_inputs(self, held: _Held) -> None:
        student, teacher = held.student, held.teacher
        if student is None or teacher is None or not (student.intact and teacher.intact):
            return
        given, taken = student.inputs, teacher.inputs
        if given is None or taken is None:
            return
        if self.transform is not None:
            with undisturbed():
                given = self.transform(given)
        same = given.shape == taken.shape and _equal(given, taken, exactly=self.transform is None)
        self.same_inputs = same if self.same_inputs is None else self.same_inputs and same

    def _teacher_again(self, held: _Held) -> Tensor | None:
        """The teacher in evaluation mode on the inputs of this step: its own, or else the student's."""
        seen, transform = (held.teacher, None) if held.teacher is not None else (held.student, self.transform)
        if seen is None or not seen.intact:
            return None
        was_paused = [(watch, watch.paused) for watch in self._watches.values()]
        self.pause()
        try:
            teacher = bare(self.teacher)
            with undisturbed(teacher):
                if transform is not None:
                    seen = Seen((transform(seen.inputs),), {}, (), seen.autocast)
                return copied(seen.again(teacher))
        except Exception as error:
            if held.teacher is not None:  # the student's inputs need not suit the teacher
                self._on_error(error)
            return None
        finally:
            for watch, paused in was_paused:
                watch.paused = paused


class _Held:
    """One step by reference, to be copied if it turns out to be wanted."""

    def __init__(
        self,
        number: int,
        values: dict[str, Any],
        tensors: dict[str, Tensor],
        student: Seen | None,
        teacher: Seen | None,
    ) -> None:
        self.number, self.values, self.tensors = number, values, tensors
        self.student, self.teacher = student, teacher
        self._versions = [version(tensor) for tensor in tensors.values()]

    @property
    def intact(self) -> bool:
        return self._versions == [version(tensor) for tensor in self.tensors.values()]

    def without_graph(self) -> _Held:
        """The same step, holding none of the memory that the backward pass would free."""
        values = {n: v.detach() if isinstance(v, Tensor) else v for n, v in self.values.items()}
        tensors = {name: value.detach() for name, value in self.tensors.items()}
        return _Held(self.number, values, tensors, self.student, self.teacher)


def _equal(a: Tensor, b: Tensor, exactly: bool) -> bool:
    b = b.to(a.device)
    if exactly or not a.is_floating_point():
        return bool(torch.equal(a, b.to(a.dtype)))
    return bool(torch.allclose(a, b.to(a.dtype), rtol=CLOSE, atol=CLOSE, equal_nan=True))


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.numel() * max(4, tensor.element_size()) for tensor in tensors.values())
