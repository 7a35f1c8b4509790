"""A run with code, layers, inputs and snapshots: everything that a page can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.snapshots import with_snapshots
from tests.treatment.recorded import blobs, sick_run


def full_run(path: Path) -> Path:
    """The sick blobs with layers of both models, the inputs and four snapshots beside them."""
    sick_run(path)
    inputs, _ = blobs().val_data().tensors
    x = inputs.numpy().astype(np.float32)
    logits = load_file(path / "predictions" / "val.safetensors")
    hidden = np.maximum(x @ np.random.default_rng(0).normal(size=(2, 12)).astype(np.float32), 0)
    arrays = {
        "teacher/1": hidden,
        "teacher/3": logits["teacher_logits"],
        "student/2": hidden[:, :5] + 0.1,
        "student/4": logits["student_logits"],
    }
    for folder, content in (("features", arrays), ("inputs", {"inputs": x})):
        (path / folder).mkdir()
        save_file(
            {name: np.ascontiguousarray(array) for name, array in content.items()}, path / folder / "val.safetensors"
        )
    with_snapshots(path, {"2": hidden[:, :5] + 0.1, "4": logits["student_logits"]}, logits["student_logits"])
    return path
