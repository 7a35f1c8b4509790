"""Where a treatment keeps its work until its output is complete, for all processes that look at it."""

from pathlib import Path

CHECKPOINT, LOCK, PROGRESS = "checkpoint.pt", "lock", "progress.jsonl"


def checkpoint_directory(output: Path) -> Path:
    """Hidden, beside the output."""
    return output.with_name(f".{output.name}.treating")
