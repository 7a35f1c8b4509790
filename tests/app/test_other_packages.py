"""Rules of an installed package in the app, in a process that has the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.rules.test_plugins import block, install, spiky

ROOT = Path(__file__).parents[2]
#: Draws the first page and the checks of a run, and says what stands there.
DRAWN = """
import sys
import pytest
from tests.app.pages import App, text_of

with pytest.MonkeyPatch.context() as patch:
    app = App(patch, __import__("pathlib").Path(sys.argv[1]))
    verdict, checks = app(), app("checks", code="ACME101")
    assert not verdict.exception, verdict.exception
    assert not checks.exception, checks.exception
    print(text_of(verdict))
    print(text_of(checks))
    for table in (*verdict.dataframe, *checks.dataframe):
        print(table.value.to_csv())
"""


def test_a_rule_of_an_installed_package_stands_on_the_pages_like_any_other(tmp_path):
    site, run = install(tmp_path / "site", block("python")), spiky(tmp_path / "run")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "KDDOCTOR_CACHE": str(tmp_path / "cache")}
    drawn = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRAWN, str(run)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert "ACME101" in drawn.stdout
    assert "gradient-spikes" in drawn.stdout
    assert "one gradient is 1000 times the usual one" in drawn.stdout
