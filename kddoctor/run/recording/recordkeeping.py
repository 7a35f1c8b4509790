"""Writing the record: in between, and at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from kddoctor.errors import UsageError
from kddoctor.run.recording.assembling import assembled, classes_in
from kddoctor.run.recording.complaints import Complaints
from kddoctor.run.recording.disk import MEGABYTE, fit
from kddoctor.run.recording.evaluating import Evaluated, Evaluation
from kddoctor.run.recording.intent import Intent
from kddoctor.run.recording.live import LiveSteps
from kddoctor.run.recording.predicting import SplitRecord
from kddoctor.run.recording.snapshots import SnapshotTaking
from kddoctor.run.recording.teacher_before import TeacherBefore, weights_of
from kddoctor.run.writer import write_run


@dataclass
class Recordkeeping:
    """How and where the record is written. It appears whole: a process that is killed leaves the one before."""

    path: Path
    intent: Intent
    evaluation: Evaluation
    complaints: Complaints
    max_megabytes: float
    code_files: dict[str, str]
    save_checkpoints: bool
    overwrite: bool
    snapshots: SnapshotTaking
    teacher_before: TeacherBefore | None = None
    _latest: dict[str, SplitRecord] = field(default_factory=dict)

    def write_few_rows(self, live: LiveSteps, observations: dict[str, Any], ended: str) -> None:
        """A record of the first rows of each split, in little time. Raises as ``write_all_rows`` does."""
        self._write_evaluated(live, observations, self.evaluation.of_few_rows(), ended)

    def write_all_rows(self, live: LiveSteps, observations: dict[str, Any], ended: str) -> None:
        """The record. Raises what interrupted it after writing what there was by then."""
        self._complain_about_steps(live)
        self._write_evaluated(live, observations, self.evaluation.of_all_rows(), ended)

    def _write_evaluated(self, live: LiveSteps, observations: dict[str, Any], done: Evaluated, ended: str) -> None:
        if done.interruption is None:
            self._write(live, observations, done, ended)
            return
        done.splits = {**self._latest, **done.splits}
        self._write(live, observations, done, type(done.interruption).__name__)
        raise done.interruption

    def _write(self, live: LiveSteps, observations: dict[str, Any], done: Evaluated, ended: str) -> None:
        parts = assembled(live, done.splits)
        recorded = parts.predictions.get(self.snapshots.split)
        taken = {} if recorded is None else self.snapshots.arrays(len(recorded["labels"]))
        parts.snapshots = {self.snapshots.split: taken} if taken else {}
        dropped = fit(parts, int(self.max_megabytes * MEGABYTE))
        if live.sample.too_large:
            dropped.append("steps")
        facts = {**observations, **done.facts}
        facts["inputs"] = {**observations.get("inputs", {}), **done.facts.get("inputs", {})}
        said: dict[str, Any] = {"ended": ended} if ended != "finished" else {}
        said |= {"max_megabytes": self.max_megabytes, "dropped": dropped} if dropped else {}
        facts |= {"recording": said} if said else {}
        write_run(
            self.path,
            self.intent.manifest(live.num_classes or classes_in(done.splits)),
            predictions=parts.predictions,
            steps=parts.steps,
            metrics=live.rows(),
            observations=facts,
            features=parts.features,
            inputs=parts.inputs,
            fingerprints=parts.fingerprints,
            snapshots=parts.snapshots,
            checkpoints=self._checkpoints() if self.save_checkpoints else None,
            code_files=self.code_files,
            overwrite=self.overwrite,
        )
        self._latest = done.splits
        self.overwrite = True  # what lies there now is ours

    def _checkpoints(self) -> dict[str, dict[str, Tensor]]:
        """By name. A teacher that changed is there as it is and as it was."""
        models = self.evaluation.predicting.models
        states = {name: weights_of(models[name]) for name in ("teacher", "student") if name in models}
        found = {name: state for name, state in states.items() if state is not None}
        if self.teacher_before is not None and "teacher" in found:
            before = self.teacher_before.where_changed(found["teacher"])
            found |= {} if before is None else {"teacher_before": before}
        return found

    def _complain_about_steps(self, live: LiveSteps) -> None:
        unlabelled = any("labels" not in step for step in live.sample.each())
        lacking = ", ".join(sorted(live.missing)) or ("labels" if unlabelled else "")
        if lacking and not live.sample.arrays():
            self.complaints.say(
                "record training steps",
                UsageError(f"{lacking} could not be picked up"),
                f"Give {lacking} to step(); everything else is recorded.",
            )
