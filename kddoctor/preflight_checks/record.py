"""A record of the sample in a temporary directory, so that the same probes measure it as measure any run."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kddoctor.engine.measuring import measure
from kddoctor.engine.measuring.splits import Measured
from kddoctor.preflight_checks.dry_steps import DrySteps
from kddoctor.preflight_checks.loss_check import xrayed
from kddoctor.preflight_checks.setting import Setting
from kddoctor.run import load
from kddoctor.run.recording.predicting import SplitRecord
from kddoctor.run.writer import write_run


def measured(
    setting: Setting, splits: dict[str, SplitRecord], dry: DrySteps | None, sequences: dict[str, Any]
) -> Measured:
    """Measurements of the sample by type. sequences: facts about the tokenizers. Raises RunError."""
    observations = dict(dry.observations) if dry is not None else {}
    observations.setdefault("inputs", {}).update({split: part.statistics for split, part in splits.items()})
    if sequences:
        observations["sequences"] = sequences
    with tempfile.TemporaryDirectory(prefix="kddoctor-preflight-") as folder, np.errstate(all="ignore"):
        path = write_run(
            Path(folder) / "run",
            setting.manifest,
            predictions={split: part.predictions for split, part in splits.items()},
            steps=dry.arrays if dry is not None else None,
            observations=observations,
            inputs={split: part.inputs for split, part in splits.items() if part.inputs},
            fingerprints={s: part.fingerprints for s, part in splits.items() if part.fingerprints is not None},
        )
        return measure(load(path), forensics=not xrayed(setting))
