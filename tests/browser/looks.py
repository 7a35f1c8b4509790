"""Screenshots against committed ones, small and blurred, so that fonts may differ and panels may not."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

BASELINES = Path(__file__).parent / "baselines"
#: KDDOCTOR_REFRESH_PICTURES=1 makes the pictures of this machine the committed ones.
REFRESH = os.environ.get("KDDOCTOR_REFRESH_PICTURES") == "1"
#: Pixels of the screenshot to one of the baseline, and of the baseline to one that is compared.
SHRINK, BLUR = 4, 4
#: Levels (0 to 255) by which a place may differ, and the share of places that may differ by more.
LEVELS, SHARE = 20.0, 0.02


def differing(screenshot: bytes, baseline: Image.Image) -> float:
    """Share of places, each 16 x 16 pixels, that look different. Pages that are a little longer are scaled."""
    shown = _small(screenshot)
    if abs(shown.height / baseline.height - 1) > 0.03 or shown.width != baseline.width:
        return 1.0
    coarse = (baseline.width // BLUR, baseline.height // BLUR)
    one, other = (
        np.asarray(picture.convert("RGB").resize(coarse, Image.Resampling.BOX), float) for picture in (shown, baseline)
    )
    return float((np.abs(one - other).max(axis=2) > LEVELS).mean())


def assert_looks_like(name: str, screenshot: bytes, kept: Path) -> None:
    """Fails where the picture is another one, and leaves what was seen in ``kept``."""
    path = BASELINES / f"{name}.png"
    if REFRESH:
        path.parent.mkdir(exist_ok=True)
        _small(screenshot).quantize(64).save(path, optimize=True)
        return
    with Image.open(path) as baseline:
        share = differing(screenshot, baseline)
    seen = kept / f"{name}.png"
    seen.write_bytes(screenshot)
    assert share <= SHARE, (
        f"{share:.1%} of {name} look different from {path} ({SHARE:.0%} may); what was seen is {seen}. "
        "Where this is meant, set KDDOCTOR_REFRESH_PICTURES=1 and look at what git then shows"
    )


def _small(screenshot: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    return picture.resize((picture.width // SHRINK, picture.height // SHRINK), Image.Resampling.BOX)
