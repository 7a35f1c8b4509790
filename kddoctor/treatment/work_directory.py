"""Where a treatment keeps its work until its output is complete, for all processes that look at it."""

from pathlib import Path

CHECKPOINT, LOCK, PROGRESS, TRIAL = "checkpoint.pt", "lock", "progress.jsonl", "trial.json"
#: What is known of a run of the user's own script.
SCRIPT = "script.json"


def checkpoint_directory(output: Path) -> Path:
    """Hidden, beside the output."""
    return output.with_name(f".{output.name}.treating")
