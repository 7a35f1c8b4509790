"""What the Keras recorder keeps between its first step and the run directory; saved after every epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kddoctor.run.arrays import Array
from kddoctor.run.recording.thinning import Thinned

MAX_NONFINITE = 100


@dataclass
class Record:
    """steps: an even sample, under the names of steps.safetensors. teacher: its weights before the run."""

    steps: Thinned[dict[str, Any]]
    teacher: list[Array]
    rows: list[dict[str, Any]] = field(default_factory=list)
    nonfinite: list[int] = field(default_factory=list)
    teacher_trained: bool = False
    same_inputs: bool | None = None

    def add(self, step: dict[str, Any], *, teacher_trained: bool, same_inputs: bool | None) -> None:
        """Keep a step that ``steps`` wants."""
        if not np.isfinite(step["loss"]) and len(self.nonfinite) < MAX_NONFINITE:
            self.nonfinite.append(step["step"])
        self.teacher_trained = self.teacher_trained or teacher_trained
        if same_inputs is not None:
            self.same_inputs = same_inputs and self.same_inputs is not False
        self.steps.keep(step)

    def arrays(self) -> dict[str, Array]:
        """steps.safetensors; steps of one shape can stand in one file, and those are of the commonest."""
        steps = [step for _, step in self.steps.items]
        shapes = [step["student_logits"].shape for step in steps]
        if not steps:
            return {}
        commonest = max(shapes, key=shapes.count)
        alike = [step for step in steps if step["student_logits"].shape == commonest]
        names = [name for name in alike[0] if all(name in step for step in alike)]
        return {name: np.stack([np.asarray(step[name]) for step in alike]) for name in names}

    def save(self, path: Path, epochs: int) -> None:
        """After ``epochs`` finished epochs; the file is the old or the new one at any moment."""
        arrays = {f"teacher/{i}": np.ascontiguousarray(value) for i, value in enumerate(self.teacher)}
        for index, (_, step) in enumerate(self.steps.items):
            arrays |= {f"step/{index}/{name}": np.array(value) for name, value in step.items()}
        facts = {
            "epochs": epochs,
            "indices": [index for index, _ in self.steps.items],
            "stride": self.steps.stride,
            "offered": self.steps.offered,
            **{name: getattr(self, name) for name in ("rows", "nonfinite", "teacher_trained", "same_inputs")},
        }
        partial = path.with_name(f"{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial, {"record": json.dumps(facts)})
        partial.replace(path)

    def load(self, path: Path, epochs: int) -> bool:
        """Go on from a record saved after as many epochs; whether there was one."""
        try:
            with safe_open(path, "np") as held:
                facts = json.loads((held.metadata() or {}).get("record", "{}"))
                arrays = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError, ValueError):
            return False
        if facts.get("epochs") != epochs:
            return False
        steps: list[dict[str, Any]] = [{} for _ in facts["indices"]]
        for name, value in arrays.items():
            kind, index, *rest = name.split("/", 2)
            if kind == "step":
                steps[int(index)][rest[0]] = value if value.ndim else value.item()
        self.teacher = [arrays[f"teacher/{i}"] for i in range(sum(name.startswith("teacher/") for name in arrays))]
        self.steps.stride, self.steps.offered = facts["stride"], facts["offered"]
        self.steps.items = list(zip(facts["indices"], steps, strict=True))
        self.rows, self.nonfinite = facts["rows"], facts["nonfinite"]
        self.teacher_trained, self.same_inputs = facts["teacher_trained"], facts["same_inputs"]
        return True


def drift(before: list[Array], after: list[Array]) -> float:
    """The largest ||after - before|| / ||before|| of any one weight; a weight that was zero changes totally."""
    changes = [0.0]
    for was, now in zip(before, after, strict=True):
        change = float(np.linalg.norm(now.astype(float) - was.astype(float)))
        scale = float(np.linalg.norm(was.astype(float)) or np.linalg.norm(now.astype(float)))
        changes.append(change / scale if change else 0.0)
    return float(np.max(changes))
