"""Runs that are recorded once for all tests of this folder; read only."""

from __future__ import annotations

import pytest

from tests import builders as b
from tests.builders import recorded_run
from tests.forensics import losses


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "healthy": recorded_run(folder / "healthy"),
        "sick": recorded_run(folder / "sick", kd=losses.kl(scale="1")),
        "thin": recorded_run(folder / "thin", steps=0, metrics=[]),
        "random teacher": recorded_run(folder / "random", teacher=b.untrained),
        "one-hot": recorded_run(
            folder / "one-hot", teacher=b.sharpened(20), student=b.forgetting(0.1), declared={"temperature": 1.0}
        ),
        "forgetful": recorded_run(folder / "forgetful", student=b.forgetting(0.3)),
    }
