"""Thinned records: what a diagnosis can still say when less was recorded."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.numpy import load_file, save_file


class Tier(StrEnum):
    """How much of a record is left. BY_HAND: what somebody writes who has read the run format and not our recorder."""

    FULL = "full"
    BY_HAND = "by hand"
    NO_STEPS = "no steps"
    NO_FEATURES = "no features"
    PREDICTIONS_ONLY = "predictions only"


#: Files and folders that go.
GONE: dict[Tier, tuple[str, ...]] = {
    Tier.FULL: (),
    Tier.BY_HAND: (),
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

#: Keys of the run format's first version; all others are our recorder's own.
PREDICTIONS = {"labels", "teacher_logits", "student_logits", "teacher_targets", "baseline_logits", "example_ids"}
PREDICTIONS |= {"group_ids", "teacher_topk_values", "teacher_topk_indices"}
PREDICTIONS |= {"student_topk_values", "student_topk_indices"}
STEPS = {"student_logits", "teacher_logits", "labels", "loss", "kd_loss", "ce_loss", "feature_loss", "step"}
STEPS |= {"teacher_logits_check", "mask", "kd_grad_norm", "ce_grad_norm"}
OBSERVATIONS = {"teacher_training", "student_training_at_eval", "teacher_requires_grad", "teacher_drift"}
OBSERVATIONS |= {"parameters_not_in_optimizer", "parameters_without_gradient", "same_inputs", "missing_keys"}
OBSERVATIONS |= {"unexpected_keys", "nonfinite_steps", "grad_cosine_kd_ce", "parameters", "latency_ms", "baseline"}


@contextmanager
def thinned(run: Path, tier: Tier) -> Iterator[Path]:
    """The record without what this tier lacks; what is not changed is linked, not copied."""
    if tier is Tier.FULL:
        yield run
        return
    with TemporaryDirectory(dir=run.parent) as folder:
        part = Path(folder) / run.name
        for path in sorted(run.rglob("*")):
            relative = path.relative_to(run)
            if relative.parts[0] in GONE[tier] or path.is_dir():
                continue
            (part / relative).parent.mkdir(parents=True, exist_ok=True)
            rewrite = REWRITTEN.get(relative.parts[0]) if tier is Tier.BY_HAND else None
            os.link(path, part / relative) if rewrite is None else rewrite(path, part / relative)
        yield part


def _arrays(known: set[str]) -> Callable[[Path, Path], None]:
    def rewrite(source: Path, target: Path) -> None:
        save_file({name: array for name, array in load_file(source).items() if name in known}, target)

    return rewrite


def _observations(source: Path, target: Path) -> None:
    facts = json.loads(source.read_text("utf-8"))
    target.write_text(json.dumps({name: fact for name, fact in facts.items() if name in OBSERVATIONS}), "utf-8")


#: By first part of the path.
REWRITTEN: Mapping[str, Callable[[Path, Path], None]] = {
    "predictions": _arrays(PREDICTIONS),
    "steps.safetensors": _arrays(STEPS),
    "observations.json": _observations,
}
