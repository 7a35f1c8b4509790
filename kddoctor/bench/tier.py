"""Thinned records: what a diagnosis can still say when less was recorded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory


class Tier(StrEnum):
    """How much of a record is left."""

    FULL = "full"
    NO_STEPS = "no steps"
    NO_FEATURES = "no features"
    PREDICTIONS_ONLY = "predictions only"


#: Files and folders that go.
GONE: dict[Tier, tuple[str, ...]] = {
    Tier.FULL: (),
    Tier.NO_STEPS: ("steps.safetensors",),
    Tier.NO_FEATURES: ("features",),
    Tier.PREDICTIONS_ONLY: (
        "steps.safetensors",
        "features",
        "metrics.jsonl",
        "observations.json",
        "fingerprints",
        "inputs",
        "checkpoints",
    ),
}


@contextmanager
def thinned(run: Path, tier: Tier) -> Iterator[Path]:
    """The record without what this tier lacks; nothing is copied."""
    if not GONE[tier]:
        yield run
        return
    with TemporaryDirectory(dir=run.parent) as folder:
        part = Path(folder) / run.name
        for path in sorted(run.rglob("*")):
            relative = path.relative_to(run)
            if relative.parts[0] in GONE[tier] or path.is_dir():
                continue
            (part / relative).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, part / relative)
        yield part
