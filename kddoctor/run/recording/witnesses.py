"""Everything that watches the live process: the loop's steps, gradients, the teacher's weights, the student's end."""

from __future__ import annotations

from typing import Any

from kddoctor.run.recording.complaints import Complaints
from kddoctor.run.recording.drift import Drift
from kddoctor.run.recording.ending import StudentAfterTraining
from kddoctor.run.recording.gradients import GradientWatch
from kddoctor.run.recording.live import LiveSteps
from kddoctor.run.recording.process import processes
from kddoctor.run.recording.student_weights import StudentWeights


class Witnesses:
    """Watches from now on, until it is closed."""

    def __init__(self, live: LiveSteps, complaints: Complaints) -> None:
        self.live = live
        self._complaints = complaints
        teacher = live.teachers.model
        self.gradients = GradientWatch(
            live.student,
            teacher,
            live.optimizers,
            wants_norm=live.wants_gradient_norm,
            on_norm=live.take_gradient_norm,
            on_error=complaints.about("watch gradients"),
        )
        self._drift = None if teacher is None else Drift(teacher)
        self._after = StudentAfterTraining(live.student, live.optimizers)
        self._weights = StudentWeights(live.student)

    def after_step(self) -> None:
        # Without an optimizer to wait for, gradients are those that there are at the end of a step.
        if not self.gradients.optimizers:
            self.gradients.look()

    def observations(self) -> dict[str, Any]:
        """Keys of observations.json, as of now."""
        facts: dict[str, Any] = {}
        with self._complaints.harmless("collect observations"):
            facts |= self.live.observations()
            facts |= self.gradients.observations()
            if self._drift is not None and (largest := self._drift.largest()) is not None:
                facts["teacher_drift"] = largest
            facts |= self._after.observations()
            facts |= self._weights.observations()
            if processes() > 1:
                facts["processes"] = processes()
        return facts

    def last_step(self) -> dict[str, Any]:
        """What can be told of the last step once training is over."""
        with self._complaints.harmless("keep the last training step"):
            self.live.add_last_step()
        with self._complaints.harmless("run the student on its last step again"):
            again = self.live.last_step_again()
            return {} if again is None else {"last_step": again}
        return {}

    def close(self) -> None:
        for watch in (self.live, self.gradients, self._after):
            watch.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "live": self.live.state_dict(),
            "drift": {} if self._drift is None else dict(self._drift.before),
            "weights": dict(self._weights.before),
            "gradients": self.gradients.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.live.load_state_dict(state["live"])
        if self._drift is not None:
            # The teacher as it was before the interrupted run, not as it is now.
            self._drift.before.update(state["drift"])
        self._weights.before.update(state.get("weights", {}))
        self.gradients.load_state_dict(state["gradients"])
