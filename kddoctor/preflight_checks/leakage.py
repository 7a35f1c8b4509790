"""Rows that both splits hold, by the hashes of all rows that there is time for."""

import time

import numpy as np

from kddoctor.preflight_checks.judged import LEAKAGE
from kddoctor.preflight_checks.result import Check
from kddoctor.preflight_checks.setting import Setting
from kddoctor.probes.data_measurements import SplitOverlap
from kddoctor.probes.row_overlap import RowOverlap, equal_rows
from kddoctor.run.arrays import Array
from kddoctor.run.recording.batches import Source
from kddoctor.run.recording.fingerprinting import fingerprints
from kddoctor.run.recording.predicting import MAX_FINGERPRINTS

NAME = LEAKAGE[0]
#: Share of the time for reading one split whole.
SHARE = 0.15


def overlap(setting: Setting, near: object) -> SplitOverlap | None:
    """Equal rows of both splits. near: the SplitOverlap that was measured on the sample, for its near copies."""
    if "val" not in setting.sources:
        return None
    close = near.near if isinstance(near, SplitOverlap) else None
    return SplitOverlap(equal(setting), close)


def equal(setting: Setting) -> RowOverlap | None:
    """By hashes of as many rows as there is time for."""
    found = [_hashes(setting.sources[split], SHARE * setting.seconds) for split in ("train", "val")]
    return equal_rows(*found) if all(map(len, found)) else None


def _hashes(source: Source, seconds: float) -> Array:
    end = time.monotonic() + seconds
    parts = [np.zeros(0, np.int64)]
    for batch in source.batches(MAX_FINGERPRINTS):
        parts.append(fingerprints(batch.inputs, batch.size))
        if time.monotonic() > end:
            break
    return np.concatenate(parts)


def no_held_out() -> Check:
    """What to say where there is one split only."""
    return Check(NAME, "not checked", "no val_data was given")
