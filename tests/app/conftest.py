"""Runs for the pages: one that holds everything, one that holds nearly nothing, and a cache of the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.app.pages import App
from tests.app.runs import full_run
from tests.builders import recorded_run
from tests.forensics import losses
from tests.treatment.recorded import sick_run


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache, elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("KDDOCTOR_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what they are; read only."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "full": full_run(folder / "full"),
        "healthy": recorded_run(folder / "healthy"),
        "thin": recorded_run(folder / "thin", steps=0, metrics=[]),
        "sick": recorded_run(folder / "sick", kd=losses.kl(reduction="mean", scale="1")),
    }


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Callable[..., App]:
    """``app(run, …)``: the app on these runs."""
    return lambda *paths: App(monkeypatch, *paths)


@pytest.fixture
def treatable(tmp_path: Path) -> Path:
    """A sick run with code of its own, that this test may treat."""
    return sick_run(tmp_path / "blobs")


@pytest.fixture
def rng() -> np.random.Generator:
    """The same draws each time."""
    return np.random.default_rng(0)
