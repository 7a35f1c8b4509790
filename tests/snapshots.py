"""Snapshots of a student, beside a run that has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def with_snapshots(path: Path, layers: dict[str, np.ndarray], logits: np.ndarray, moments: int = 4) -> None:
    """Adds snapshots of a student that goes from noise to what it is at the end. layers, logits: at the end."""
    rng = np.random.default_rng(0)

    def grown(end: np.ndarray) -> np.ndarray:
        rows = end[:64]
        shares = np.linspace(0.1, 1, moments)
        return np.stack([s * rows + (1 - s) * rng.normal(size=rows.shape) for s in shares]).astype(np.float16)

    arrays = {f"student/{name}": grown(values) for name, values in layers.items()}
    arrays |= {"student_logits": grown(logits), "step": np.arange(moments) * 10, "epoch": np.arange(moments)}
    (path / "snapshots").mkdir()
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path / "snapshots" / "val.safetensors")
