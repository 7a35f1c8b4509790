"""What is recorded while the loop runs: sampled steps, metrics, and what the models were seen doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from kddoctor.run.labels import IGNORED
from kddoctor.run.recording.calling import Transform, bare
from kddoctor.run.recording.ending import compared
from kddoctor.run.recording.expected_norm import ExpectedNorm
from kddoctor.run.recording.graph import Bystanders, merged, reach
from kddoctor.run.recording.held import Held
from kddoctor.run.recording.input_statistics import InputStatistics, summary_of
from kddoctor.run.recording.labelling import class_labels
from kddoctor.run.recording.metrics import MetricRows, batch_rates
from kddoctor.run.recording.outputs import copied, number_of
from kddoctor.run.recording.pickup import PickedUp, member_logits
from kddoctor.run.recording.repeated_targets import RepeatedTargets
from kddoctor.run.recording.row_hash import row_hashes
from kddoctor.run.recording.same_inputs import same_inputs
from kddoctor.run.recording.second_pass import teacher_again
from kddoctor.run.recording.steps import ROWS, Step, StepSample
from kddoctor.run.recording.targets import TargetsSeen
from kddoctor.run.recording.teachers import Teachers
from kddoctor.run.recording.term_gradients import gradient_facts
from kddoctor.run.recording.trouble import LossWatch
from kddoctor.run.recording.undisturbed import undisturbed
from kddoctor.run.recording.watching import Terms, Watching

MAX_COSINES = 100
WALKED_STEPS = 3  # a term may join late, such as after a warm-up
NEEDED = ("student_logits", "teacher_logits", "loss")


class LiveSteps:
    """The recorder's memory of the loop. step() raises freely; the caller keeps that from the loop.

    max_steps, max_bytes: bounds on the sampled steps. rows: examples of the training data, None where nobody knows.
    """

    def __init__(
        self,
        teachers: Teachers,
        student: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        task: str,
        transform: Transform | None,
        max_steps: int,
        max_bytes: int,
        rows: int | None,
        on_error: Callable[[Exception], None],
    ) -> None:
        self.teachers, self.student, self.optimizers = teachers, bare(student), list(optimizers)
        self.task = task
        self.transform = transform
        self.sample = StepSample(max_steps, max_bytes)
        self.metrics = MetricRows()
        self.targets = TargetsSeen(0 if task == "tokens" else max_bytes // 4, rows or 0)
        self.repeated = RepeatedTargets()
        self.losses = LossWatch()
        self.num_classes: int | None = None
        self.count = 0
        self.same_inputs: bool | None = None
        self.cosines: list[float] = []
        self.reach: dict[str, Any] = {}
        self.inputs = {role: InputStatistics() for role in ("student", "teacher")}
        self.watching = Watching(teachers, student, on_error, self.sample.expects)
        #: What some steps could not be sampled for want of.
        self.missing: set[str] = set()
        self._on_error = on_error
        self._walked = 0
        self._bystanders = Bystanders()
        self._norm = ExpectedNorm(self.student)
        self._last: Held | None = None
        self._final: Held | None = None

    def step(
        self,
        loss: Tensor | float | None,
        terms: Terms,
        tensors: dict[str, Tensor | None],
        *,
        example_ids: Tensor | None,
        epoch: int | None,
        number: int | None,
        scalars: dict[str, Any],
    ) -> None:
        number = self.count if number is None else int(number)
        self.count = number + 1
        self._norm.count()
        found = self.watching.pick_up(tensors, loss, terms)
        held = Held(number, found.values, found.tensors, found.student, found.teachers)
        trouble = None if found.loss is None else self.losses.trouble(number, number_of(found.loss))
        lacking = {name for name in NEEDED if name not in found.tensors and name not in found.values}
        self._last = self._final = None
        if self.watching.just_began:
            pass  # terms that some steps have and others lack would help nobody
        elif lacking:
            self.missing |= lacking
        else:
            self._final = held.without_graph()
            seen = held.teacher if held.student is None else held.student
            inputs = None if seen is None or not seen.intact else seen.inputs
            self.repeated.compare(held.tensors["teacher_logits"], inputs)
            if self._offer(held, found, trouble):
                self.repeated.keep(held.tensors["teacher_logits"], inputs)
            self.targets.add(held.tensors["teacher_logits"], inputs, example_ids)
        self.watching.forget()
        self._metric_row(held, epoch, scalars)

    def _offer(self, held: Held, found: PickedUp, trouble: str | None) -> bool:
        """Whether the step was taken into the sample."""
        if not self.sample.wants(held.size, held.bytes, trouble):
            self._last = self._final
            return False
        kept = self._copied(held)
        facts, cosine = gradient_facts(held.tensors["student_logits"], held.values)
        kept |= facts
        if cosine is not None:
            self.cosines = [*self.cosines[-MAX_COSINES:], cosine]
        if self.sample.wants_look(held.size, trouble):
            self._look(held, kept)
        self._walk(held.values)
        self.sample.keep(held.size, kept, trouble)
        return True

    def add_last_step(self) -> None:
        """The last step is worth having, whether or not the even spacing fell on it."""
        last = self._last
        if last is not None and last.intact and last.size in self.sample.by_size:
            step = self._copied(last)
            self._check_teacher(last, step)
            self.sample.append_last(last.size, step)
        self._last = None

    def log(self, scalars: dict[str, Any]) -> None:
        self.metrics.log(scalars)

    def rows(self) -> list[dict[str, Any]]:
        return self.metrics.rows()

    def wants_gradient_norm(self) -> bool:
        return self._norm.awaits or self.metrics.wants_gradient_norm()

    def take_gradient_norm(self, norm: float | None) -> None:
        """At an optimizer step: the norm, where it was wanted."""
        if norm is not None:
            self._norm.take(norm)
            if self.metrics.wants_gradient_norm():
                self.metrics.take_gradient_norm(norm)
        self._norm.updated()

    def last_step_again(self) -> dict[str, float] | None:
        """The student as it is now on the inputs of the last step, beside what it answered there."""
        held = self._final
        if held is None or held.student is None or not held.student.intact or not held.intact:
            return None
        if "labels" not in held.tensors:
            return None
        with self.watching.paused(), undisturbed(self.student):
            now = copied(held.student.again(self.student))
        return compared(copied(held.tensors["student_logits"]), now, copied(held.tensors["labels"]))

    def observations(self) -> dict[str, Any]:
        models = {"teacher": self.teachers.model, "student": self.student}
        facts: dict[str, Any] = {
            "parameters": {
                name: sum(p.numel() for p in model.parameters()) for name, model in models.items() if model is not None
            },
            "nonfinite_steps": list(self.losses.nonfinite),
            "nonfinite_count": self.losses.nonfinite_count,
            "recorded_steps": self.count,
        }
        if self.watching.teacher_trained is not None:
            facts["teacher_training"] = self.watching.teacher_trained
        if self.watching.teacher_trained and not self.watching.teacher_beyond_dropout:
            facts["teacher_dropout_alone"] = True
        if self.same_inputs is not None:
            facts["same_inputs"] = self.same_inputs
        if self.reach:
            facts["graph"] = self.reach
        repeated = self.repeated.facts()
        if repeated is not None:
            facts["repeated_targets"] = repeated
        seen = {f"loop_{role}": statistics.facts() for role, statistics in self.inputs.items()}
        facts["inputs"] = {place: found for place, found in seen.items() if found}
        if self.cosines:
            facts["grad_cosine_kd_ce"] = sum(self.cosines) / len(self.cosines)
        return facts

    def close(self) -> None:
        self.watching.close()
        self._last = self._final = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "sample": self.sample.state_dict(),
            "metrics": self.metrics.state_dict(),
            "targets": self.targets.state_dict(),
            "repeated": self.repeated.state_dict(),
            "losses": self.losses.state_dict(),
            "num_classes": self.num_classes,
            "count": self.count,
            "same_inputs": self.same_inputs,
            "teacher_trained": self.watching.teacher_trained,
            "teacher_beyond_dropout": self.watching.teacher_beyond_dropout,
            "cosines": list(self.cosines),
            "graph": self.reach,
            "walked": self._walked,
            "inputs": {role: statistics.state_dict() for role, statistics in self.inputs.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("sample", "metrics", "targets", "losses"):
            getattr(self, name).load_state_dict(state[name])
        if "repeated" in state:  # older versions kept none
            self.repeated.load_state_dict(state["repeated"])
        for name in ("num_classes", "count", "same_inputs"):
            setattr(self, name, state[name])
        self.watching.trained_before = state["teacher_trained"]
        # States of an earlier version tell no more than that; then all of the teacher counts as in that mode.
        self.watching.beyond_dropout_before = state.get("teacher_beyond_dropout", bool(state["teacher_trained"]))
        self.cosines, self.reach, self._walked = list(state["cosines"]), state["graph"], state["walked"]
        for role, statistics in self.inputs.items():
            statistics.load_state_dict(state["inputs"][role])

    def _metric_row(self, held: Held, epoch: int | None, scalars: dict[str, Any]) -> None:
        logits = held.tensors.get("student_logits")
        if self.num_classes is None and logits is not None and logits.ndim > 1:
            self.num_classes = int(logits.shape[-1])

        def row() -> dict[str, Any]:
            when = {"step": held.number, "split": "train", **({} if epoch is None else {"epoch": epoch})}
            numbers = {name: number_of(value) for name, value in held.values.items()}
            lr = {"lr": float(self.optimizers[0].param_groups[0]["lr"])} if self.optimizers else {}
            return {**when, **numbers, **lr, **batch_rates(held.tensors, self.task), **scalars}

        self.metrics.step(row)

    def _copied(self, held: Held) -> Step:
        """Everything of one step that the file keeps, copied out of the loop's hands."""
        tensors = {name: copied(value) for name, value in held.tensors.items()}
        step: Step = {"step": held.number, **{name: number_of(value) for name, value in held.values.items()}}
        labels, mask = tensors.pop("labels", None), tensors.pop("mask", None)
        if labels is not None:
            step |= class_labels(labels, tensors["student_logits"], self.task)
        elif held.student is not None and held.student.intact and held.student.inputs is not None:
            step[ROWS] = row_hashes(held.student.inputs).cpu()
        if self.task == "tokens" and labels is not None:
            step["mask"] = step["labels"] != IGNORED if mask is None else mask.bool()
        step |= tensors
        members = member_logits(held.teachers, tensors["teacher_logits"].shape)
        step |= {} if members is None else {"teacher_member_logits": members}
        self._compare_inputs(held)
        return step

    def _compare_inputs(self, held: Held) -> None:
        student, teacher = held.student, held.teacher
        same = same_inputs(student, teacher, self.transform)
        if same is not None:
            self.same_inputs = same if self.same_inputs is None else self.same_inputs and same
        known: dict[int, Any] = {}  # both models are often given the same tensor
        for role, seen in (("student", student), ("teacher", teacher)):
            if seen is not None and seen.intact:
                inputs = seen.inputs
                if id(inputs) not in known:
                    known[id(inputs)] = summary_of(inputs)
                self.inputs[role].add(known[id(inputs)])

    def _look(self, held: Held, step: Step) -> None:
        """What costs about as much as a training step."""
        self._check_teacher(held, step)
        if self.optimizers:
            self._norm.ask(step, held.values["loss"])

    def _check_teacher(self, held: Held, step: Step) -> None:
        with self.watching.paused():
            check, members = teacher_again(held, self.teachers.members, self.transform, self._on_error)
        if check is not None and check.shape == step["teacher_logits"].shape:
            step["teacher_logits_check"] = check.to(step["teacher_logits"].dtype)
            if members is not None:
                step["teacher_member_logits"] = members.to(step["teacher_logits"].dtype)

    def _walk(self, values: dict[str, Any]) -> None:
        if self._walked < WALKED_STEPS:
            optimized = (id(p) for o in self.optimizers for group in o.param_groups for p in group["params"])
            found = reach(values, self.student, self.teachers.model, optimized, self._bystanders)
            self._walked += bool(found)
            self.reach = merged(self.reach, found)
