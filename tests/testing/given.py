"""What the assertions are given, and what they say when they fail."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders import World

WORLD = World()
LABELS = WORLD.labels(600, 1)
TEACHER = WORLD.teacher(LABELS, 1)
ROWS = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)


def failure(assertion, *arguments, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion(*arguments, **options)
    return str(caught.value)
